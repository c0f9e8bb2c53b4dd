//! The `spin-*` headers, which tell a component how a request reached it. The host alone sets them: it removes headers
//! with such names from what a client or another component sends.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::outbound::chained_component;
use crate::routes::Captures;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// The headers that are the same for every request of a route.
#[derive(Clone, Debug)]
pub(crate) struct RouteHeaders {
    matched: HeaderValue,
    raw: HeaderValue,
    component: HeaderValue,
}

impl RouteHeaders {
    /// The headers of a route, which is as in the manifest.
    pub(crate) fn new(route: &str) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            matched: value(route.strip_suffix('/').unwrap_or(route)),
            raw: value(route),
            component: value(route.strip_suffix("/...").unwrap_or(route)),
        }
    }

    /// Adds the headers of one request, whose URI has scheme, authority and path.
    pub(crate) fn add(&self, headers: &mut HeaderMap, uri: &Uri, captures: &Captures<'_, '_>, client: HeaderValue) {
        let full_url = full_url(headers, uri);
        headers.insert(PATH_INFO, value(captures.rest.as_bytes()));
        headers.insert(FULL_URL, full_url);
        headers.insert(MATCHED_ROUTE, self.matched.clone());
        headers.insert(BASE_PATH, HeaderValue::from_static("/"));
        headers.insert(RAW_COMPONENT_ROUTE, self.raw.clone());
        headers.insert(COMPONENT_ROUTE, self.component.clone());
        headers.insert(CLIENT_ADDR, client);
        for (name, text) in &captures.named {
            let name = format!("spin-path-match-{}", name.to_ascii_lowercase().replace('_', "-"));
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.insert(name, value(text.as_bytes()));
            }
        }
    }
}

/// The URL that the client used. A call between components has no `host`; Spin writes `localhost` then.
fn full_url(headers: &HeaderMap, uri: &Uri) -> HeaderValue {
    let chained = uri.host().is_some_and(|host| chained_component(host).is_some());
    let host = match headers.get(header::HOST) {
        Some(host) => host.as_bytes(),
        None if chained => b"localhost".as_slice(),
        None => uri.authority().map_or(b"localhost".as_slice(), |authority| authority.as_str().as_bytes()),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut url = Vec::with_capacity(b"http://".len() + host.len() + path.len());
    url.extend_from_slice(b"http://");
    url.extend_from_slice(host);
    url.extend_from_slice(path.as_bytes());
    value(&url)
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap_or(HeaderValue::from_static(""))
}

/// Removes the headers that only the host may set.
pub(crate) fn remove_forged(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("spin-")).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Pattern;

    fn headers(route: &str, uri: &str, host: Option<&str>) -> HeaderMap {
        let uri: Uri = uri.parse().unwrap();
        let pattern = Pattern::parse(route).unwrap();
        let captures = pattern.matches(uri.path()).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        RouteHeaders::new(route).add(&mut headers, &uri, &captures, HeaderValue::from_static("127.0.0.1:8777"));
        headers
    }

    #[test]
    fn a_route_with_a_wildcard() {
        let headers = headers("/foo/...", "http://example.dev/foo/bar?key1=value1&key2=value2", Some("example.dev"));
        for (name, expected) in [
            ("spin-full-url", "http://example.dev/foo/bar?key1=value1&key2=value2"),
            ("spin-path-info", "/bar"),
            ("spin-matched-route", "/foo/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/foo/..."),
            ("spin-component-route", "/foo"),
            ("spin-client-addr", "127.0.0.1:8777"),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
    }

    #[test]
    fn named_segments_have_headers_of_their_own() {
        let headers = headers("/foo/:user_ID/...", "http://example.dev/foo/42/bar", Some("example.dev"));
        assert_eq!(headers["spin-path-match-user-id"], "42");
        assert_eq!(headers["spin-path-info"], "/bar");
        assert_eq!(headers["spin-component-route"], "/foo/:user_ID");
    }

    #[test]
    fn the_url_has_the_host_that_the_client_named() {
        assert_eq!(headers("/", "http://a.dev:81/", Some("a.dev:81"))["spin-full-url"], "http://a.dev:81/");
        assert_eq!(headers("/", "http://a.dev:81/", None)["spin-full-url"], "http://a.dev:81/");
        assert_eq!(headers("/...", "http://order.spin.internal/x", None)["spin-full-url"], "http://localhost/x");
        assert_eq!(headers("/", "http://a.dev/", None)["spin-matched-route"], "");
    }

    #[test]
    fn forged_headers_go_and_others_stay() {
        let mut headers = HeaderMap::new();
        for name in ["spin-client-addr", "spin-path-match-id", "spin-anything", "spinner", "x-spin-a"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        headers.append("spin-client-addr", HeaderValue::from_static("twice"));
        remove_forged(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["spinner", "x-spin-a"]);
    }
}
