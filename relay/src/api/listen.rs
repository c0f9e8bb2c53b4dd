//! Accepts connections and serves HTTP/1.1 on them, until the relay takes nothing new.

use std::collections::VecDeque;
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
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::Service as _;

use super::prompt_ack::PromptAck;
use crate::config::Limits;
use crate::telemetry::metrics::CONNECTIONS;
use tokio_util::task::TaskTracker;

/// The pause after accepting failed, most likely because the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

type Timed = Pin<Box<TimeoutStream<PromptAck>>>;

/// What gives way when every place for a connection is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The next connection waits until one ends: callers are known, and each answer counts.
    NextWaits,
    /// The oldest connection is closed: nobody can keep others out by holding connections, and whoever asks next gets an answer.
    OldestEnds,
}

/// Serves a router until `stop` is cancelled, on at most `max` connections. They are tasks of `tracker`: they finish their
/// request in flight, and are dropped when `forced` is cancelled.
pub(crate) async fn serve(
    listener: &TcpListener,
    router: Router,
    limits: Limits,
    (max, full): (usize, Full),
    tracker: TaskTracker,
    stop: CancellationToken,
    forced: CancellationToken,
) {
    let mut places = Places::new(max, full);
    let (builder, write_timeout) = (builder(&limits), Duration::from_millis(limits.write_timeout_ms));
    while let Some(Some((stream, place))) = stop.run_until_cancelled(accept(listener, &mut places)).await {
        let connection = connection(timed(stream, write_timeout), router.clone(), builder.clone(), stop.clone());
        let forced = forced.clone();
        tracker.spawn(async move {
            let open = gauge!(CONNECTIONS);
            open.increment(1);
            let ended = place.ends.clone();
            let _ = forced.run_until_cancelled(ended.run_until_cancelled(connection)).await;
            open.decrement(1);
            drop(place);
        });
    }
}

/// The places for connections.
struct Places {
    free: Arc<Semaphore>,
    max: usize,
    full: Full,
    /// The connections that may be told to end, the oldest first; those that have ended are cancelled.
    open: VecDeque<CancellationToken>,
}

/// The place of one connection. Dropping it frees it.
struct Place {
    _permit: OwnedSemaphorePermit,
    /// Cancelled: the connection shall end, or has ended.
    ends: CancellationToken,
    _ended: DropGuard,
}

impl Places {
    fn new(max: usize, full: Full) -> Self {
        Self { free: Arc::new(Semaphore::new(max)), max, full, open: VecDeque::new() }
    }

    /// A place for the next connection. Waits until one is free, and makes one free where that is the rule.
    async fn take(&mut self) -> Option<Place> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if self.full == Full::OldestEnds {
                    self.open.retain(|open| !open.is_cancelled());
                    self.open.pop_front().inspect(CancellationToken::cancel);
                }
                Arc::clone(&self.free).acquire_owned().await.ok()?
            }
        };
        let ends = CancellationToken::new();
        if self.full == Full::OldestEnds {
            self.open.push_back(ends.clone());
            if self.open.len() > 2 * self.max {
                self.open.retain(|open| !open.is_cancelled());
            }
        }
        Some(Place { _permit: permit, _ended: ends.clone().drop_guard(), ends })
    }
}

/// The next connection, with its place. Where every place is taken and the next one waits, nothing is accepted meanwhile.
async fn accept(listener: &TcpListener, places: &mut Places) -> Option<(TcpStream, Place)> {
    if places.full == Full::NextWaits {
        let place = places.take().await?;
        return Some((accept_one(listener).await, place));
    }
    let stream = accept_one(listener).await;
    Some((stream, places.take().await?))
}

async fn accept_one(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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
    let mut stream = TimeoutStream::new(PromptAck::new(stream));
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
