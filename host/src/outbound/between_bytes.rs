//! The between-bytes timeout of a response to a component.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

pin_project! {
    /// A body that fails if its next piece takes longer than the limit. It then drops the connection at once rather than
    /// when the component drops the body.
    pub(super) struct BetweenBytes {
        body: Option<WasiBody>,
        limit: Duration,
        #[pin]
        waiting: Option<Sleep>,
    }
}

impl BetweenBytes {
    pub(super) fn new(body: WasiBody, limit: Duration) -> Self {
        Self { body: Some(body), limit, waiting: None }
    }
}

impl Body for BetweenBytes {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            this.waiting.set(None);
            return Poll::Ready(frame);
        }
        if this.waiting.is_none() {
            this.waiting.set(Some(tokio::time::sleep(*this.limit)));
        }
        if let Some(waiting) = this.waiting.as_pin_mut() {
            ready!(waiting.poll(cx));
        }
        *this.body = None;
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};

    #[tokio::test]
    async fn a_silent_body_fails_and_a_talking_one_does_not() {
        let silent = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>()).boxed_unsync();
        let collected = BetweenBytes::new(silent, Duration::from_millis(20)).collect().await;
        assert!(matches!(collected, Err(Error::ConnectionReadTimeout)));
        let full = Full::from("text").map_err(Error::from).boxed_unsync();
        let collected = BetweenBytes::new(full, Duration::ZERO).collect().await;
        assert_eq!(collected.map_err(|_| "failed").map(|body| body.to_bytes()), Ok(Bytes::from("text")));
    }
}
