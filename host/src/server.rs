//! The listener: HTTP/1.1 and HTTP/2 without TLS on one port. It limits connections, heads and slow clients, and drains
//! requests when it stops.

mod body;
mod edge;
mod sending;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_io_timeout::TimeoutStream;

use crate::application::Application;
use crate::problem::Problem;
use body::BodyLimits;
use edge::Edge;
use sending::Unfinished;

/// Spare connections beyond `--max-connections`. They serve steady routes and refuse other requests with 503.
const MAX_SPARE_CONNECTIONS: usize = 256;
/// Closes a spare connection that sends no request for this long, and a refused one after this long.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// Streams of one HTTP/2 connection.
const MAX_STREAMS_PER_CONNECTION: u32 = 200;

/// The limits of clients.
#[derive(Clone, Debug)]
pub(crate) struct ServerLimits {
    pub(crate) max_connections: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_body_bytes: u64,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

/// How the server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every accepted request got its response.
    Drained,
    /// Some requests were cut off: the drain timeout passed, or a second signal came.
    CutOff,
}

/// A listener that serves an application.
pub(crate) struct Server {
    listener: TcpListener,
    edge: Arc<Edge>,
    http: auto::Builder<TokioExecutor>,
    limits: ServerLimits,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, application: Application, limits: ServerLimits) -> std::io::Result<Self> {
        application.network.set_own_address(listener.local_addr()?);
        let edge = Edge {
            application: Arc::new(application),
            max_header_bytes: limits.max_header_bytes,
            max_headers: limits.max_headers,
            body: BodyLimits { max_bytes: limits.max_body_bytes, timeout: limits.body_timeout },
        };
        Ok(Self { listener, edge: Arc::new(edge), http: protocol(&limits), limits })
    }

    /// Serves until `stop`, then drains: finishes the requests in flight until `drain_timeout` passes or `force` comes.
    pub(crate) async fn run(
        self,
        stop: impl Future<Output = ()>,
        force: impl Future<Output = ()>,
        drain_timeout: Duration,
    ) -> Stopped {
        let connections = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        let spares = Arc::new(Semaphore::new(MAX_SPARE_CONNECTIONS));
        let mut stop = pin!(stop);
        loop {
            // Without a spare permit, new clients wait in the kernel's queue until a connection closes.
            let accepted = async {
                let spare = spares.clone().acquire_owned().await;
                (self.listener.accept().await, spare)
            };
            let (stream, client, spare) = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accepted => match accepted {
                    (Ok((stream, client)), spare) => (stream, client, spare),
                    (Err(error), _) => {
                        accept_failed(&error).await;
                        continue;
                    }
                },
            };
            let regular = permits.clone().try_acquire_owned().ok();
            let connection = self.connection(stream, client, regular.is_none(), &connections);
            let permit = regular.map_or(spare, Ok);
            tokio::spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        tracing::info!(connections = connections.count(), "stopping: finishing the requests in flight");
        let reason = tokio::select! {
            () = connections.shutdown() => return Stopped::Drained,
            () = tokio::time::sleep(drain_timeout) => "--drain-timeout passed",
            () = force => "second signal",
        };
        tracing::warn!(reason, "cutting off the requests in flight");
        Stopped::CutOff
    }

    /// Serves one connection to its end. A spare one serves steady routes and refuses other requests.
    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        spare: bool,
        connections: &GracefulShutdown,
    ) -> impl Future<Output = ()> + Send + use<> {
        let address = HeaderValue::from_str(&client.to_string()).unwrap_or(HeaderValue::from_static(""));
        let (edge, unfinished) = (self.edge.clone(), Unfinished::default());
        let (began, turned_away) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let service = {
            let (began, unfinished, turned_away) = (began.clone(), unfinished.clone(), turned_away.clone());
            service_fn(move |request: Request<Incoming>| {
                began.store(true, Ordering::Relaxed);
                let (edge, address, unfinished) = (edge.clone(), address.clone(), unfinished.clone());
                let refused = spare && !edge.is_steady(request.uri().path());
                if refused {
                    turned_away.notify_one();
                }
                async move {
                    if refused {
                        return Ok::<_, Infallible>(Edge::refuse(Problem::NoConnection, &unfinished));
                    }
                    Ok(edge.respond(request, address, &unfinished).await)
                }
            })
        };
        // Without Nagle's algorithm, the last piece of a response does not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let connection = self.http.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
        let connection = connections.watch(connection);
        let no_request = no_request(if spare { SPARE_TIMEOUT } else { self.limits.header_timeout }, began);
        // HTTP/1 connections close with the refusal; an HTTP/2 client could keep its connection open.
        let refused = async move {
            turned_away.notified().await;
            tokio::time::sleep(SPARE_TIMEOUT).await;
        };
        let overdue = unfinished.overdue(self.limits.answer_timeout);
        async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%client, %error, "connection failed");
                    }
                }
                () = refused => tracing::debug!(%client, "connection closed: too many connections (--max-connections)"),
                () = no_request => tracing::debug!(%client, "connection closed: no request came"),
                () = overdue => tracing::warn!(
                    %client,
                    "connection closed: the client did not receive a response within --answer-timeout"
                ),
            }
        }
    }
}

/// Resolves if no request comes in time on a new connection. hyper's own timeouts begin once it knows the protocol, which
/// it does not learn from a client that sends nothing.
async fn no_request(limit: Duration, began: Arc<AtomicBool>) {
    tokio::time::sleep(limit).await;
    if began.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

fn protocol(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    /// Interval of pings on an idle HTTP/2 connection, and the timeout of their replies.
    const PING: Duration = Duration::from_secs(20);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.saturating_mul(2))
        .max_headers(limits.max_headers.saturating_mul(2));
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(u32::try_from(limits.max_header_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION);
    http
}

/// Ignores that a client left before it was accepted. Waits before the next attempt after any other error: while the
/// process has no file descriptors left, every attempt fails.
async fn accept_failed(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
