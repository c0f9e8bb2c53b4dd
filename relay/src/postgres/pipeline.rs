//! Several requests on the wire before the first is answered.

use std::pin::Pin;

use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use futures::poll;
use tokio_postgres::Error;

use super::errors::Trouble;

/// A request on the wire.
pub(crate) type Sent<'a, T> = Pin<Box<MaybeDone<BoxFuture<'a, Result<T, Error>>>>>;

/// Puts a request on the wire, behind those that were sent before: the driver sends it when its future is first polled.
pub(crate) async fn send<'a, T>(request: impl Future<Output = Result<T, Error>> + Send + 'a) -> Sent<'a, T> {
    let mut sent = Box::pin(maybe_done(request.boxed()));
    let _ = poll!(sent.as_mut());
    sent
}

/// Waits for the answer, or for its beginning where it is a stream.
///
/// # Errors
/// What the server says, or that it is gone.
pub(crate) async fn answer<T>(mut sent: Sent<'_, T>) -> Result<T, Trouble> {
    sent.as_mut().await;
    let answer = sent.as_mut().take_output().ok_or_else(Trouble::impossible)?;
    answer.map_err(Trouble::of)
}
