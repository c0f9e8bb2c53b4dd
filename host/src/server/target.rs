//! What a request is for: the forms of a request's target (RFC 9112, section 3.2), and its host (RFC 9110, section 7.2).

use std::net::SocketAddr;

use http::uri::{Authority, Scheme};
use http::{Method, Request, Uri, Version, header};

use crate::problem::Problem;

/// The path of a request that is for the server and no resource of it: `OPTIONS *`.
pub(super) const SERVER: &str = "*";

/// The request's URI with scheme and authority. HTTP/1 names the host in a header, HTTP/2 in the URI. If both do, they
/// must agree: otherwise a proxy and the component could disagree on which host the request is for. HTTP/1.0 need not
/// name any; the host then is the address that the client connected to (`local`).
///
/// # Errors
/// A tunnel is asked for, a scheme that this host doesn't serve, no single host, or `*` with another method than OPTIONS.
pub(super) fn of<B>(request: &Request<B>, local: impl FnOnce() -> Option<SocketAddr>) -> Result<Uri, Problem> {
    if request.method() == Method::CONNECT {
        return Err(Problem::NoTunnel);
    }
    let uri = request.uri().clone();
    if uri.path() == SERVER && request.method() != Method::OPTIONS {
        return Err(Problem::MalformedRequest);
    }
    // A proxy that ends TLS passes on what it was asked for.
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Problem::ForeignScheme);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Problem::BadHost);
    }
    let named = host.map(|host| Authority::try_from(host.as_bytes())).transpose().map_err(|_| Problem::BadHost)?;
    let mut parts = uri.into_parts();
    let authority = match (named, parts.authority) {
        (Some(named), Some(own)) if named != own => return Err(Problem::BadHost),
        (None, None) if request.version() <= Version::HTTP_10 => {
            let local = local().and_then(|local| Authority::try_from(local.to_string()).ok());
            local.unwrap_or(Authority::from_static("localhost"))
        }
        (named, own) => named.or(own).ok_or(Problem::BadHost)?,
    };
    if !is_host(&authority) {
        return Err(Problem::BadHost);
    }
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(authority));
    Uri::from_parts(parts).map_err(|_| Problem::BadHost)
}

/// Whether it is a host with a port, or without one, and nothing else: `user@host` is none.
fn is_host(authority: &Authority) -> bool {
    let Some(rest) = authority.as_str().strip_prefix(authority.host()) else { return false };
    match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Version, line: &str, hosts: &[&'static str]) -> Result<String, Problem> {
        let (method, uri) = line.split_once(' ').unwrap();
        let request = Request::builder().version(version).method(method).uri(uri);
        let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
        super::of(&request.body(()).unwrap(), || Some("127.0.0.1:3000".parse().unwrap())).map(|uri| uri.to_string())
    }

    #[test]
    fn one_host_is_needed() {
        let get = |uri: &str, hosts: &[&'static str]| of(Version::HTTP_11, &format!("GET {uri}"), hosts);
        assert_eq!(get("/a?b", &["example.com:81"]), Ok("http://example.com:81/a?b".into()));
        assert_eq!(get("/a", &["[::1]:3000"]), Ok("http://[::1]:3000/a".into()));
        assert_eq!(get("http://example.com/a", &[]), Ok("http://example.com/a".into()));
        assert_eq!(get("https://example.com/a", &["example.com"]), Ok("http://example.com/a".into()));
        assert_eq!(get("http://example.com/a", &["example.org"]), Err(Problem::BadHost));
        assert_eq!(get("/a", &[]), Err(Problem::BadHost));
        for wrong in ["no host", "", "a@localhost", "localhost@a", "a:b", "a:+1", "a:99999", "a/b", "[::1", "[::1]a"] {
            assert_eq!(get("/a", &[wrong]), Err(Problem::BadHost), "{wrong}");
        }
        assert_eq!(get("http://user@example.com/a", &[]), Err(Problem::BadHost));
        assert_eq!(get("/a", &["example.com", "example.com"]), Err(Problem::BadHost));
    }

    #[test]
    fn http_1_0_needs_none() {
        let get = |hosts: &[&'static str]| of(Version::HTTP_10, "GET /a", hosts);
        assert_eq!(get(&[]), Ok("http://127.0.0.1:3000/a".into()));
        assert_eq!(get(&["example.com"]), Ok("http://example.com/a".into()));
        assert_eq!(get(&["example.com", "example.org"]), Err(Problem::BadHost));
    }

    #[test]
    fn only_resources_of_http_are_served_and_the_server_has_options() {
        let ask = |line: &str| of(Version::HTTP_11, line, &["a"]);
        assert_eq!(ask("OPTIONS *"), Ok("http://a*".into()));
        assert_eq!(ask("GET *"), Err(Problem::MalformedRequest));
        assert_eq!(ask("CONNECT a:80"), Err(Problem::NoTunnel));
        for scheme in ["ftp", "ws", "file", "gopher"] {
            assert_eq!(ask(&format!("GET {scheme}://a/b")), Err(Problem::ForeignScheme), "{scheme}");
        }
    }
}
