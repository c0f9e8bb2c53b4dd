//! HTTP requests that components make: whether they are allowed, where they go (another component, the application
//! itself, the network), and their timeouts.

mod allowed;
mod between_bytes;
mod chain;
mod client;
mod peers;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

pub use allowed::{AllowedHost, AllowedHosts};
use between_bytes::BetweenBytes;
pub(crate) use chain::{CALLER_ADDRESS, target as chained_component};
use client::{Connections, DEFAULT_CONNECT_TIMEOUT};
pub(crate) use peers::{Answering, Peers};

/// Timeout for the first byte of a response and between two bytes, where the component sets none. Spin uses the same
/// value; `--request-timeout` of the caller is usually shorter.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(600);

/// Headers of a connection rather than of the message, and `host`, which follows from the URI. A component cannot set
/// them, but it can forward those that it received.
const HOP_BY_HOP: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HeaderName::from_static("keep-alive"),
    header::HeaderName::from_static("proxy-connection"),
    header::HeaderName::from_static("http2-settings"),
];

/// Removes the headers that must not go from one connection to another.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The outbound side of an application, which its components share.
#[derive(Debug)]
pub(crate) struct Network {
    connections: Connections,
    /// Where the application itself listens, for calls to `self`.
    own_address: OnceLock<SocketAddr>,
    /// The components, for calls to `NAME.spin.internal`. Weak, because the components hold this.
    components: OnceLock<Weak<dyn Peers>>,
    max_call_depth: u8,
}

impl Network {
    pub(crate) fn new(max_call_depth: u8) -> Self {
        Self {
            connections: Connections::new(),
            own_address: OnceLock::new(),
            components: OnceLock::new(),
            max_call_depth,
        }
    }

    /// Sets the components that calls to `NAME.spin.internal` reach. Until then there are none.
    pub(crate) fn connect_components<P: Peers + 'static>(&self, components: &Arc<P>) {
        let components = Arc::downgrade(components);
        let _ = self.components.set(components);
    }

    /// Sets the address that calls to the application itself reach.
    pub(crate) fn set_own_address(&self, address: SocketAddr) {
        let _ = self.own_address.set(address);
    }
}

/// The request for which a component makes a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// How many components stand between the client and this one.
    pub(crate) depth: u8,
    /// Cancelled when nobody waits for the response any more.
    pub(crate) ended: CancellationToken,
}

/// Sends the requests of one component.
#[derive(Debug)]
pub(crate) struct Outbound {
    component: Arc<str>,
    allowed: AllowedHosts,
    network: Arc<Network>,
}

/// Where a request goes.
enum Destination<'a> {
    /// The application itself, through its listener.
    Itself,
    /// Another component, in process.
    Component(&'a str),
    /// Any other host.
    World,
}

fn destination(uri: &Uri) -> Destination<'_> {
    // Most HTTP libraries cannot send a request without an authority, so `self.alt` is another name for the application.
    match uri.authority().map(Authority::host) {
        None | Some("" | "self.alt") => Destination::Itself,
        Some(host) => chain::target(host).map_or(Destination::World, Destination::Component),
    }
}

impl Outbound {
    pub(crate) fn new(component: Arc<str>, allowed: AllowedHosts, network: Arc<Network>) -> Self {
        Self { component, allowed, network }
    }

    /// Whether the component may reach this address by a socket of its own. Logs what it may not reach.
    pub(crate) fn allows_socket(&self, scheme: &str, address: SocketAddr) -> bool {
        let allowed = match address.ip() {
            IpAddr::V4(ip) => self.allowed.allow(scheme, &ip.to_string(), Some(address.port())),
            IpAddr::V6(ip) => self.allowed.allow(scheme, &format!("[{ip}]"), Some(address.port())),
        };
        if !allowed {
            let component = &self.component;
            tracing::warn!(%component, scheme, %address, "socket denied: allowed_outbound_hosts has no entry for it");
        }
        allowed
    }

    /// Whether the component may call this URI. Logs a call that it may not make.
    fn allows(&self, uri: &Uri) -> bool {
        let (scheme, authority) = (uri.scheme_str().unwrap_or("https"), uri.authority());
        let allowed = match destination(uri) {
            Destination::Itself => self.allowed.allow_self(),
            _ => authority.is_some_and(|to| self.allowed.allow(scheme, to.host(), to.port_u16())),
        };
        if !allowed {
            let (component, host) = (&self.component, authority.map_or("self", Authority::as_str));
            tracing::warn!(
                %component,
                scheme,
                host,
                "call denied: the host is not in the component's allowed_outbound_hosts"
            );
        }
        allowed
    }

    /// The component that a request names and may call, but that does not exist. The caller then traps, as with Spin:
    /// this is a mistake in the application, and no retry helps.
    pub(crate) fn absent_component(&self, authority: Option<&Authority>, scheme: Option<&Scheme>) -> Option<String> {
        let authority = authority?;
        let name = chain::target(authority.host())?;
        let scheme = scheme.map_or("https", Scheme::as_str);
        let absent = !self.components()?.contains(name);
        (absent && self.allowed.allow(scheme, authority.host(), authority.port_u16())).then(|| name.to_owned())
    }

    fn components(&self) -> Option<Arc<dyn Peers>> {
        self.network.components.get()?.upgrade()
    }

    /// Sends a request that the component makes while it handles one from `origin`.
    pub(crate) async fn send(
        self: Arc<Self>,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        origin: Origin,
    ) -> Result<Response<WasiBody>, Error> {
        if !self.allows(request.uri()) {
            return Err(Error::HttpRequestDenied);
        }
        remove_hop_by_hop(request.headers_mut());
        let wait = options.first_byte_timeout.unwrap_or(DEFAULT_READ_TIMEOUT);
        let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_READ_TIMEOUT);
        let ended = origin.ended.clone();
        let answer = tokio::time::timeout(wait, self.dispatch(request, options, origin));
        let answer = ended.run_until_cancelled(answer).await.ok_or(Error::ConnectionTerminated)?;
        let answer = answer.map_err(|_| Error::ConnectionReadTimeout)??;
        Ok(answer.map(|body| BetweenBytes::new(body, between_bytes).boxed_unsync()))
    }

    async fn dispatch(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        origin: Origin,
    ) -> Result<Response<WasiBody>, Error> {
        match destination(request.uri()) {
            Destination::Component(name) => {
                let Origin { depth, ended } = origin;
                if depth >= self.network.max_call_depth {
                    let component = &self.component;
                    tracing::warn!(
                        %component,
                        callee = name,
                        depth,
                        "call denied: components call each other in a circle, or deeper than --max-call-depth"
                    );
                    return Err(Error::LoopDetected);
                }
                let name = name.to_owned();
                let components = self.components().ok_or(Error::DestinationUnavailable)?;
                return Ok(components.call(&name, request, Origin { depth: depth.saturating_add(1), ended }).await);
            }
            Destination::Itself => *request.uri_mut() = self.own_uri(request.uri())?,
            Destination::World => {}
        }
        let connect = options.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let answer = self.network.connections.send(request, connect).await?;
        Ok(answer.map(|body| body.map_err(Error::from).boxed_unsync()))
    }

    /// The URI of the application's own listener with the path and query of `uri`.
    fn own_uri(&self, uri: &Uri) -> Result<Uri, Error> {
        let address = self.network.own_address.get().ok_or(Error::DestinationUnavailable)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(address.to_string()).path_and_query(path);
        uri.build().map_err(|_| Error::HttpRequestUriInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_does_not_cross_it() {
        let mut headers = HeaderMap::new();
        let names =
            ["host", "connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "te", "x-own"];
        for name in names {
            headers.insert(name, header::HeaderValue::from_static("v"));
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "te", "x-own"]);
    }

    #[test]
    fn a_request_goes_where_its_authority_says() {
        let goes = |uri: &str| match destination(&uri.parse().unwrap()) {
            Destination::Itself => "itself".to_owned(),
            Destination::Component(name) => format!("component {name}"),
            Destination::World => "world".to_owned(),
        };
        assert_eq!(goes("/path"), "itself");
        assert_eq!(goes("http://self.alt/path"), "itself");
        assert_eq!(goes("http://order.spin.internal:80/path"), "component order");
        assert_eq!(goes("http://order.spin.internal@example.com/path"), "world");
        assert_eq!(goes("http://example.com/order.spin.internal"), "world");
    }
}
