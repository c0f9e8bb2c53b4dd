//! Connections to the world. They are kept alive and shared by the whole application; HTTPS speaks what the other side
//! chooses by ALPN, plain HTTP is HTTP/1.1.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, lookup_host};
use tower::Service;
use wasmtime_wasi_http::{Error, WasiBody};

use super::allowed::default_port;

/// How long an idle connection is kept. Shorter than the 30 s after which servers commonly close theirs, so that a
/// request rarely meets a connection that the other side is just closing.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// How many idle connections are kept for one destination.
const POOL_IDLE_PER_HOST: usize = 128;

tokio::task_local! {
    /// How long the request that is being sent may wait for a connection. The pool makes connections by itself and has
    /// no way to hand the wish through; it begins to connect within the request's future, so this reaches it.
    static CONNECT_TIMEOUT: Duration;
}

/// The application's connections.
#[derive(Debug)]
pub(crate) struct Connections {
    plain: Client<Connector, WasiBody>,
    /// Made at the first `https` call: reading the machine's certificates takes a while, and many applications make none.
    secure: OnceLock<Client<HttpsConnector<Connector>, WasiBody>>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { plain: pool().build(Connector), secure: OnceLock::new() }
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: Request<WasiBody>,
        connect: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let answer = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            let secure = self.secure.get_or_init(|| pool().build(secure_connector()));
            CONNECT_TIMEOUT.scope(connect, secure.request(request)).await
        } else {
            CONNECT_TIMEOUT.scope(connect, self.plain.request(request)).await
        };
        answer.map_err(|error| classify(&error))
    }
}

fn pool() -> legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE).pool_max_idle_per_host(POOL_IDLE_PER_HOST);
    builder
}

/// Trusts what the machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` change that), or where it has no certificates at
/// all, as in a minimal container, Mozilla's list.
fn secure_connector() -> HttpsConnector<Connector> {
    let provider = rustls::crypto::ring::default_provider;
    let with_roots = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider()).or_else(|error| {
        tracing::info!(%error, "no certificate authorities on this machine: trusting Mozilla's list");
        HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider())
    });
    match with_roots {
        Ok(builder) => builder.https_only().enable_all_versions().wrap_connector(Connector),
        Err(error) => unreachable!("ring has safe protocol versions: {error}"),
    }
}

/// Makes TCP connections.
#[derive(Clone, Debug)]
struct Connector;

impl Connector {
    async fn connect(uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(super::DEFAULT_CONNECT_TIMEOUT);
        let attempt = tokio::time::timeout(limit, Self::attempt(&uri));
        attempt.await.unwrap_or(Err(ConnectError::TimedOut)).map(TokioIo::new)
    }

    async fn attempt(uri: &Uri) -> Result<TcpStream, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().or_else(|| default_port(uri.scheme_str()?)).unwrap_or_default();
        let addresses: Vec<_> = lookup_host((host, port)).await.map_err(|_| ConnectError::UnknownHost)?.collect();
        if addresses.is_empty() {
            return Err(ConnectError::UnknownHost);
        }
        let stream = TcpStream::connect(&*addresses).await.map_err(|_| ConnectError::Refused)?;
        // A request is written in few pieces, and the last must not wait for the acknowledgement of the first.
        stream.set_nodelay(true).map_err(|_| ConnectError::Refused)?;
        Ok(stream)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(Self::connect(uri))
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
enum ConnectError {
    UnknownHost,
    Refused,
    TimedOut,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownHost => "unknown host",
            Self::Refused => "connection refused",
            Self::TimedOut => "no connection in time",
        })
    }
}

impl std::error::Error for ConnectError {}

/// The error code that a component gets: the first cause that says something.
fn classify(error: &legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(code) = classify_cause(current) {
            return code;
        }
        // An io::Error's `source` skips the error that it wraps.
        cause = match current.downcast_ref::<std::io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => current.source(),
        };
    }
    tracing::warn!(?error, "outbound request failed");
    Error::HttpProtocolError
}

fn classify_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Error> {
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::UnknownHost => {
                Error::DnsError { rcode: Some("address not available".to_owned()), info_code: Some(0) }
            }
            ConnectError::Refused => Error::ConnectionRefused,
            ConnectError::TimedOut => Error::ConnectionTimeout,
        });
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        tracing::warn!(%error, "no TLS connection");
        return Some(match error {
            rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        });
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        let ended = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        return ended.then_some(Error::ConnectionTerminated);
    }
    let io = cause.downcast_ref::<std::io::Error>()?;
    io.get_ref().is_none().then_some(Error::ConnectionTerminated)
}
