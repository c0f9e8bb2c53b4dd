//! The listener: HTTP/1.1 and HTTP/2 without TLS on one port, with limits against clients that are slow, many or greedy,
//! and an end in order.

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
use sending::Open;

/// Connections beyond `max_connections`: enough for each to hear that there is no place, and for the relay's deliveries.
const SPARE: usize = 256;
/// How long a spare connection may say nothing, and how long it stays after it was turned away.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// What clients may do.
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

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every request that was taken is answered.
    Drained,
    /// Some requests were cut off: the deadline passed, or a second signal came.
    CutOff,
}

/// A bound listener with an application behind it.
pub(crate) struct Server {
    listener: TcpListener,
    edge: Arc<Edge>,
    http: auto::Builder<TokioExecutor>,
    limits: ServerLimits,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, application: Application, limits: ServerLimits) -> std::io::Result<Self> {
        let _ = application.network.own_address.set(listener.local_addr()?);
        let edge = Edge {
            application: Arc::new(application),
            max_header_bytes: limits.max_header_bytes,
            max_headers: limits.max_headers,
            body: BodyLimits { max_bytes: limits.max_body_bytes, timeout: limits.body_timeout },
        };
        Ok(Self { listener, edge: Arc::new(edge), http: protocol(&limits), limits })
    }

    /// Serves until `stop`, then finishes what it has taken, for as long as `limit` and no `force` comes.
    pub(crate) async fn run(
        self,
        stop: impl Future<Output = ()>,
        force: impl Future<Output = ()>,
        limit: Duration,
    ) -> Stopped {
        let connections = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.limits.max_connections));
        let spares = Arc::new(Semaphore::new(SPARE));
        let mut stop = pin!(stop);
        loop {
            // Where not even a spare place is left, a client waits in the kernel's queue until another leaves.
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
                        refused(&error).await;
                        continue;
                    }
                },
            };
            let own = places.clone().try_acquire_owned().ok();
            let connection = self.connection(stream, client, own.is_none(), &connections);
            let place = own.map_or(spare, Ok);
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(self.listener);
        tracing::info!(connections = connections.count(), "stopping: finishing the requests in flight");
        let reason = tokio::select! {
            () = connections.shutdown() => return Stopped::Drained,
            () = tokio::time::sleep(limit) => "their time is over (--drain-timeout)",
            () = force => "told to stop again",
        };
        tracing::warn!("cutting off the requests in flight: {reason}");
        Stopped::CutOff
    }

    /// One connection, to its end. A `spare` one serves what is steady, and is otherwise turned away.
    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        spare: bool,
        connections: &GracefulShutdown,
    ) -> impl Future<Output = ()> + Send + use<> {
        let address = HeaderValue::from_str(&client.to_string()).unwrap_or(HeaderValue::from_static(""));
        let began = Arc::new(AtomicBool::new(false));
        let (edge, mark, open) = (self.edge.clone(), began.clone(), Open::default());
        let answers = open.clone();
        let turned_away = Arc::new(Notify::new());
        let turn_away = turned_away.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            mark.store(true, Ordering::Relaxed);
            let (edge, address, open) = (edge.clone(), address.clone(), open.clone());
            let refused = spare && !edge.is_steady(request.uri().path());
            if refused {
                turn_away.notify_one();
            }
            async move {
                if refused {
                    return Ok::<_, Infallible>(Edge::refuse(Problem::NoConnection, &open));
                }
                Ok(edge.answer(request, address, &open).await)
            }
        });
        // An answer's last piece must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let connection = self.http.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
        let connection = connections.watch(connection);
        let first_request = silence(if spare { SPARE_TIMEOUT } else { self.limits.header_timeout }, began);
        // HTTP/1 ends with the refusal; a client of HTTP/2 could stay.
        let gone = async move {
            turned_away.notified().await;
            tokio::time::sleep(SPARE_TIMEOUT).await;
        };
        let overdue = answers.overdue(self.limits.answer_timeout);
        async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%client, %error, "connection failed");
                    }
                }
                () = gone => tracing::debug!(%client, "connection closed: there was no place for it (--max-connections)"),
                () = first_request => tracing::debug!(%client, "connection closed: no request came"),
                () = overdue => tracing::warn!(%client, "connection closed: the client took too long to take an answer in (--answer-timeout)"),
            }
        }
    }
}

/// Resolves where no request comes in time on a fresh connection. hyper's own limits begin once it knows which protocol
/// the client speaks, and a client that sends nothing would never tell.
async fn silence(limit: Duration, began: Arc<AtomicBool>) {
    tokio::time::sleep(limit).await;
    if began.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

fn protocol(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    /// How long a quiet HTTP/2 client may leave a ping unanswered.
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
        .max_concurrent_streams(200);
    http
}

/// `accept` failed. A client that has gone again is nothing; where the process has no descriptors left, trying again at
/// once would only burn time.
async fn refused(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
