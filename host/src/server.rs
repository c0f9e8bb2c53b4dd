//! The listeners: HTTP/1.1 and HTTP/2 without TLS on one port. They limit connections, heads and slow clients, and drain
//! requests when they stop. Deliveries have a listener of their own, with its own limits.

mod answer;
mod body;
mod callers;
mod client;
mod connection;
mod connections;
mod edge;
mod held;
mod sending;
mod target;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::application::Application;
use body::BodyLimits;
use connection::Connection;
use connections::{Admitted, Connections, owner};
pub(crate) use edge::Door;
use edge::{Edge, MAX_HEALTH_REQUESTS};
use held::Held;
use sending::Streams;

/// Spare connections beyond `--max-connections`. They serve health and refuse other requests with 503.
pub(crate) const MAX_SPARE_CONNECTIONS: usize = 256;

/// Streams of one HTTP/2 connection: the least that RFC 9113, section 6.5.2, recommends.
const MAX_STREAMS_PER_CONNECTION: u32 = 100;
/// What a client may send on one stream before the host has read it. As in the RFC's default.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// What hyper buffers of one response that the client's window has no room for.
const MAX_SEND_BUFFER_BYTES: usize = 64 << 10;

/// The limits of clients.
#[derive(Clone, Debug)]
pub(crate) struct ServerLimits {
    /// Names that the listener for deliveries is reached by.
    pub(crate) deliveries_hosts: Vec<String>,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_held_bytes: u64,
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

/// The listeners of an application.
pub(crate) struct Server {
    application: Arc<Application>,
    limits: ServerLimits,
    listeners: Vec<(TcpListener, Arc<Listener>)>,
}

impl Server {
    pub(crate) fn new(application: Application, limits: ServerLimits) -> Self {
        Self { application: Arc::new(application), limits, listeners: Vec::new() }
    }

    /// Serves the requests of a door on a listener, with limits of its own.
    pub(crate) fn listen(&mut self, listener: TcpListener, door: Door) -> std::io::Result<()> {
        let limits = &self.limits;
        if door != Door::Deliveries {
            self.application.network.set_own_address(listener.local_addr()?);
        }
        let edge = Edge {
            application: self.application.clone(),
            door,
            max_header_bytes: limits.max_header_bytes,
            max_headers: limits.max_headers,
            deliveries_hosts: limits.deliveries_hosts.clone(),
            body: BodyLimits { max_bytes: limits.max_body_bytes, timeout: limits.body_timeout },
            held: Held::new(limits.max_held_bytes),
            health: Arc::new(Semaphore::new(MAX_HEALTH_REQUESTS)),
        };
        let connections = Arc::new(Connections::new(limits.max_connections, limits.max_connections_per_address));
        let own = Listener { edge, http: protocol(limits), connections, limits: limits.clone() };
        self.listeners.push((listener, Arc::new(own)));
        Ok(())
    }

    /// Serves until `stop`, then drains: finishes the requests in flight until `drain_timeout` passes or `force` comes.
    pub(crate) async fn run(
        self,
        stop: impl Future<Output = ()>,
        force: impl Future<Output = ()>,
        drain_timeout: Duration,
    ) -> Stopped {
        let (stopping, connections) = (CancellationToken::new(), TaskTracker::new());
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|(socket, listener)| tokio::spawn(listener.accept(socket, stopping.clone(), connections.clone())))
            .collect();
        stop.await;
        stopping.cancel();
        for accepting in accepting {
            let _ = accepting.await;
        }
        tracing::info!(connections = connections.len(), "stopping: finishing the requests in flight");
        connections.close();
        let reason = tokio::select! {
            () = connections.wait() => return Stopped::Drained,
            () = tokio::time::sleep(drain_timeout) => "--drain-timeout passed",
            () = force => "second signal",
        };
        tracing::warn!(reason, "cutting off the requests in flight");
        Stopped::CutOff
    }
}

/// One listener.
struct Listener {
    edge: Edge,
    http: auto::Builder<Streams>,
    connections: Arc<Connections>,
    limits: ServerLimits,
}

impl Listener {
    /// Accepts connections until `stopping`.
    async fn accept(self: Arc<Self>, socket: TcpListener, stopping: CancellationToken, tasks: TaskTracker) {
        let spares = Arc::new(Semaphore::new(MAX_SPARE_CONNECTIONS));
        loop {
            // Without a spare permit, new clients wait in the kernel's queue until a connection closes.
            let accepted = async {
                let spare = spares.clone().acquire_owned().await;
                (socket.accept().await, spare)
            };
            match stopping.run_until_cancelled(accepted).await {
                None => return,
                Some((Ok((stream, address)), Ok(spare))) => {
                    tasks.spawn(self.clone().connection(stream, address, spare, stopping.clone()));
                }
                Some((Ok(_), Err(_))) => {}
                Some((Err(error), _)) => accept_failed(&error).await,
            }
        }
    }

    /// Finds a place for a new connection, and serves it to its end.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        spare: OwnedSemaphorePermit,
        stopping: CancellationToken,
    ) {
        let owner = owner(address.ip());
        let (slot, _spare) = match self.connections.admit(owner) {
            Admitted::Regular(slot) => {
                drop(spare);
                (Some(slot), None)
            }
            Admitted::Instead { slot, of } => {
                // Until that one has ended, there is one connection too many.
                tokio::spawn(async move {
                    of.gone.cancelled().await;
                    drop(spare);
                });
                (Some(slot), None)
            }
            Admitted::Full => (None, Some(spare)),
        };
        // Without Nagle's algorithm, the last piece of a response does not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Connection::new(self, Arc::new(stream), address, owner, slot).run(stopping).await;
    }
}

fn protocol(limits: &ServerLimits) -> auto::Builder<Streams> {
    /// Interval of pings on an idle HTTP/2 connection, and the timeout of their replies.
    const PING: Duration = Duration::from_secs(20);
    let mut http = auto::Builder::new(Streams);
    http.http1()
        .timer(TokioTimer::new())
        // A client may close its own side once it has sent its request.
        .half_close(true)
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.saturating_mul(2))
        .max_headers(limits.max_headers.saturating_mul(2));
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
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
