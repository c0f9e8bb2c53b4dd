//! Accepts connections and serves HTTP/1.1 on them, until the relay takes nothing new.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::config::Limits;
use crate::telemetry::metrics::CONNECTIONS;
use tokio_util::task::TaskTracker;

/// The pause after accepting failed, most likely because the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

type Timed = Pin<Box<TimeoutStream<TcpStream>>>;

/// Serves a router until `stop` is cancelled. Connections are tasks of `tracker`: they finish their request in flight, and are
/// dropped when `forced` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tracker: TaskTracker,
    stop: CancellationToken,
    forced: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let (builder, write_timeout) = (builder(&limits), Duration::from_millis(limits.write_timeout_ms));
    while let Some(Some((stream, permit))) = stop.run_until_cancelled(accept(&listener, &places)).await {
        let connection = connection(timed(stream, write_timeout), router.clone(), builder.clone(), stop.clone());
        let forced = forced.clone();
        tracker.spawn(async move {
            let open = gauge!(CONNECTIONS);
            open.increment(1);
            let _ = forced.run_until_cancelled(connection).await;
            open.decrement(1);
            drop(permit);
        });
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(cause) => {
                tracing::warn!(%cause, "accepting a connection failed; retrying");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_timeout_ms))
        .max_header_size(limits.header_bytes);
    builder
}

/// A stream with the write timeout: a client that doesn't read its answer must not hold memory and a connection for ever.
fn timed(stream: TcpStream, write_timeout: Duration) -> Timed {
    // Answers are small, and a client waits for each.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

async fn connection(stream: Timed, router: Router, builder: http1::Builder, stop: CancellationToken) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        let answer = router.call(request.map(Body::new));
        answer.map(|answer| answer.map_err(|never: Infallible| match never {}))
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a connection broke");
    }
}
