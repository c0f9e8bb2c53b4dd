//! What components ask of the world over HTTP: whether they may, where it goes (another component, the application
//! itself, the network), and how long they wait.

pub mod allowed;
mod between_bytes;
pub(crate) mod chain;
mod client;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::application::Components;
use crate::engine::Caller;
use allowed::AllowedHosts;
use between_bytes::BetweenBytes;
use client::Connections;

/// How long a connection may take where the component does not say.
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the first byte, and every further one, may take where the component does not say. Spin's value; what bounds
/// a request before is `--request-timeout`.
const DEFAULT_WAIT: Duration = Duration::from_secs(600);

/// Headers that concern one connection and not the message, and `host`, which follows from the URI. A component's own
/// library does not let it set them; but it can pass on those that it received.
const HOP_BY_HOP: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HeaderName::from_static("keep-alive"),
    header::HeaderName::from_static("proxy-connection"),
    header::HeaderName::from_static("http2-settings"),
];

/// Takes out what must not cross from one connection to another.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What all components of an application share.
#[derive(Debug)]
pub(crate) struct Network {
    connections: Connections,
    /// Where the application itself listens, for calls to `self`.
    pub(crate) own_address: OnceLock<SocketAddr>,
    /// The components, for calls to `NAME.spin.internal`.
    pub(crate) components: OnceLock<Weak<Components>>,
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
}

/// The world as one component sees it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) component: Arc<str>,
    pub(crate) allowed: AllowedHosts,
    pub(crate) network: Arc<Network>,
}

/// Where a request goes.
enum Destination<'a> {
    /// The application itself, from outside.
    Itself,
    /// Another component.
    Component(&'a str),
    /// Somewhere else.
    World,
}

fn destination(uri: &Uri) -> Destination<'_> {
    // Most clients cannot send a request without an authority, so `self.alt` means the application too.
    match uri.authority().map(Authority::host) {
        None | Some("" | "self.alt") => Destination::Itself,
        Some(host) => chain::target(host).map_or(Destination::World, Destination::Component),
    }
}

impl Outbound {
    /// Whether the request may be sent.
    fn allows(&self, uri: &Uri) -> bool {
        let (scheme, authority) = (uri.scheme_str().unwrap_or("https"), uri.authority());
        let allowed = match destination(uri) {
            Destination::Itself => self.allowed.allow_self(),
            _ => authority.is_some_and(|to| self.allowed.allow(scheme, to.host(), to.port_u16())),
        };
        if !allowed {
            let host = authority.map_or("self", Authority::as_str);
            tracing::warn!(component = %self.component, "call to {scheme}://{host} denied: it is not in the component's allowed_outbound_hosts");
        }
        allowed
    }

    /// The component that a request names, may reach and that does not exist. Spin ends the caller with a trap then, for
    /// it is a mistake in the application and nothing that could mend itself.
    pub(crate) fn absent_component(&self, authority: Option<&Authority>, scheme: Option<&Scheme>) -> Option<String> {
        let authority = authority?;
        let name = chain::target(authority.host())?;
        let scheme = scheme.map_or("https", Scheme::as_str);
        let absent = !self.components()?.contains(name);
        (absent && self.allowed.allow(scheme, authority.host(), authority.port_u16())).then(|| name.to_owned())
    }

    fn components(&self) -> Option<Arc<Components>> {
        self.network.components.get()?.upgrade()
    }

    /// Sends a request that was itself caused by a call of `depth`.
    pub(crate) async fn send(
        self: Arc<Self>,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        depth: u8,
    ) -> Result<Response<WasiBody>, Error> {
        if !self.allows(request.uri()) {
            return Err(Error::HttpRequestDenied);
        }
        remove_hop_by_hop(request.headers_mut());
        let wait = options.first_byte_timeout.unwrap_or(DEFAULT_WAIT);
        let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_WAIT);
        let answer = tokio::time::timeout(wait, self.dispatch(request, options, depth));
        let answer = answer.await.map_err(|_| Error::ConnectionReadTimeout)??;
        Ok(answer.map(|body| BetweenBytes::new(body, between_bytes).boxed_unsync()))
    }

    async fn dispatch(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        depth: u8,
    ) -> Result<Response<WasiBody>, Error> {
        match destination(request.uri()) {
            Destination::Component(name) => {
                let caller = Caller { depth: depth.saturating_add(1), slot: None, working: None };
                if caller.depth > self.network.max_call_depth {
                    tracing::warn!(component = %self.component, callee = name, depth, "call denied: components call each other in a circle, or too deep");
                    return Err(Error::LoopDetected);
                }
                let name = name.to_owned();
                let components = self.components().ok_or(Error::DestinationUnavailable)?;
                return Ok(components.call_chained(&name, request, caller).await);
            }
            Destination::Itself => *request.uri_mut() = self.own_uri(request.uri())?,
            Destination::World => {}
        }
        let connect = options.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let answer = self.network.connections.send(request, connect).await?;
        Ok(answer.map(|body| body.map_err(Error::from).boxed_unsync()))
    }

    /// The address of the application itself, for the path and query of `uri`.
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
