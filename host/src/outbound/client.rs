//! Connections to other hosts. The application keeps them alive and shares them between its components. HTTPS uses the
//! version that the server chooses by ALPN; plain HTTP is HTTP/1.1.

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
use tower_service::Service;
use wasmtime_wasi_http::{Error, WasiBody};

use super::allowed::default_port;

/// Connection timeout where the component sets none.
pub(super) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle timeout of a connection. Servers commonly close idle connections after 30 s; closing ours first avoids sending a
/// request on a connection that the server is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle connections to one host.
const MAX_IDLE_PER_HOST: usize = 128;

tokio::task_local! {
    /// Connection timeout of the request that is being sent. The pool opens connections itself and takes no timeout; it
    /// begins to connect within the request's future, where this value can be read.
    static CONNECT_TIMEOUT: Duration;
}

/// The application's connections.
#[derive(Debug)]
pub(super) struct Connections {
    plain: Client<Connector, WasiBody>,
    /// Created by the first `https` call: reading the machine's certificates takes time, and many applications need none.
    secure: OnceLock<Client<HttpsConnector<Connector>, WasiBody>>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { plain: pool().build(Connector), secure: OnceLock::new() }
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(
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
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE_PER_HOST);
    builder
}

/// Trusts the machine's certificate authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` change them). If there are none, as
/// in a minimal container, trusts Mozilla's list.
fn secure_connector() -> HttpsConnector<Connector> {
    let provider = rustls::crypto::ring::default_provider;
    let with_roots = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider()).or_else(|error| {
        tracing::info!(%error, "this machine has no certificate authorities: outbound HTTPS trusts Mozilla's list");
        HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider())
    });
    match with_roots {
        Ok(builder) => builder.https_only().enable_all_versions().wrap_connector(Connector),
        Err(error) => unreachable!("ring has safe protocol versions: {error}"),
    }
}

/// Opens TCP connections.
#[derive(Clone, Debug)]
struct Connector;

impl Connector {
    async fn connect(uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
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
        // Without Nagle's algorithm, the last piece of a request does not wait for the acknowledgement of the first.
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
            Self::TimedOut => "connection timed out",
        })
    }
}

impl std::error::Error for ConnectError {}

/// The error code that a component gets: that of the first cause that has one.
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
    tracing::warn!(?error, "outbound request failed: no error code of WASI HTTP fits the cause");
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
        tracing::warn!(%error, "outbound request failed: no TLS connection");
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
