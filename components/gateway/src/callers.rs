//! Whom the gateway serves. A browser lends any web page the network that it stands in: a page may call an address there, or
//! let a name of its own lead there. So the gateway serves requests that are for its own names alone, and none that a page of
//! another site sends.

use http::{HeaderMap, Uri, uri::Authority};
use towpath_sdk::{Context, Problem, Request};

/// Checks the host that the request is for, and the web page that it comes from.
///
/// # Errors
/// 421 `misdirected_request`; 403 `foreign_origin`.
pub(crate) async fn check(context: &Context, request: &Request) -> Result<(), Problem> {
    // No browser leaves the host out.
    let Some(host) = request.host() else { return Ok(()) };
    if !is_this_machine(host) && !lists_host(&context.variable("allowed_hosts").await?, host) {
        let detail = "This server has another name than the request says. The variable allowed_hosts lists its names.";
        return Err(Problem::new(421, "misdirected_request", detail));
    }
    if !foreign_origins(request.headers(), host).is_empty() {
        let allowed = context.variable("allowed_origins").await?;
        if foreign_origins(request.headers(), host).iter().any(|origin| !lists_origin(&allowed, origin)) {
            let detail =
                "Web pages of other sites may not call this server. The variable allowed_origins lists those that may.";
            return Err(Problem::new(403, "foreign_origin", detail));
        }
    }
    Ok(())
}

/// Whether a host, with or without a port, is the machine itself: no name of anybody else can lead there.
fn is_this_machine(host: &str) -> bool {
    let Some((name, _)) = split(host) else { return false };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Whether a list such as `shop.example, *.shop.example, 192.0.2.1:3000` names a host. A name without a port stands for all
/// ports; `*` alone stands for every host.
fn lists_host(list: &str, host: &str) -> bool {
    let Some((name, port)) = split(host) else { return false };
    entries(list).any(|entry| {
        if entry == "*" {
            return true;
        }
        let Some((listed, listed_port)) = split(entry) else { return false };
        let is_named = match listed.strip_prefix("*.") {
            Some(domain) => name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => name == listed,
        };
        is_named && (listed_port.is_none() || listed_port == port)
    })
}

/// Whether a list such as `https://shop.example` names an origin; `*` alone stands for every one.
fn lists_origin(list: &str, origin: &str) -> bool {
    entries(list).any(|entry| entry == "*" || entry.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The origins that the headers name and that are not this host's own. What can't be read counts as foreign.
fn foreign_origins<'a>(headers: &'a HeaderMap, host: &str) -> Vec<&'a str> {
    let origins = headers.get_all("origin").iter().map(|value| value.to_str().unwrap_or_default());
    origins.filter(|origin| !is_own(origin, host)).collect()
}

/// Whether an origin is the site that the request is for. A proxy in front may speak TLS, so its scheme does not matter.
fn is_own(origin: &str, host: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let usual = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let own = split(host).map(|(name, port)| (name, port.unwrap_or(usual)));
    let its = origin.authority().and_then(|authority| split(authority.as_str()));
    own.is_some() && own == its.map(|(name, port)| (name, port.unwrap_or(usual)))
}

/// The name of a host in small letters and without its final dot, and its port.
fn split(host: &str) -> Option<(String, Option<u16>)> {
    // `*.` is no letter of a host.
    let (wild, host) = host.strip_prefix("*.").map_or(("", host), |domain| ("*.", domain));
    let authority: Authority = host.parse().ok().filter(|authority: &Authority| !authority.as_str().contains('@'))?;
    let port = authority.port_u16();
    if port.is_none() && authority.as_str().trim_end_matches(':').len() > authority.host().len() {
        return None;
    }
    let name = authority.host().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    (!name.is_empty()).then(|| (format!("{wild}{name}"), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machine_has_the_names_that_nobody_else_can_have() {
        for own in [
            "localhost",
            "LocalHost:3000",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:3000",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in [
            "",
            "shop.example",
            "localhost.shop.example",
            "notlocalhost",
            "127.0.0.1.shop.example",
            "192.0.2.1",
            "[2001:db8::1]:80",
            "0.0.0.0",
            "a@localhost",
            "localhost:x",
        ] {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn a_list_names_hosts_with_or_without_their_ports() {
        let list = "shop.example, *.Shop.example,192.0.2.1:3000,";
        for named in ["shop.example", "SHOP.example.:443", "a.b.shop.example", "192.0.2.1:3000"] {
            assert!(lists_host(list, named), "{named}");
        }
        for other in ["notshop.example", ".shop.example", "shop.example.org", "192.0.2.1", "192.0.2.1:80", ""] {
            assert!(!lists_host(list, other), "{other}");
        }
        assert!(lists_host("*", "anything.example") && !lists_host("", "anything.example"));
    }

    fn foreign(origins: &[&str], host: &str) -> usize {
        let headers = origins.iter().map(|origin| (http::header::ORIGIN, origin.parse().expect("a value"))).collect();
        foreign_origins(&headers, host).len()
    }

    #[test]
    fn an_origin_is_foreign_unless_it_is_the_site_that_is_called() {
        assert_eq!(foreign(&[], "localhost:3000"), 0);
        for (origin, host) in [
            ("http://localhost:3000", "localhost:3000"),
            ("http://LOCALHOST:3000", "localhost:3000"),
            ("https://shop.example", "shop.example"),
            ("https://shop.example", "shop.example:443"),
            ("http://shop.example:80", "shop.example"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert_eq!(foreign(&[origin], host), 0, "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "localhost:3000"),
            ("", "localhost:3000"),
            ("http://localhost:3001", "localhost:3000"),
            ("http://localhost", "localhost:3000"),
            ("https://evil.example", "shop.example"),
            ("https://shop.example.evil.example", "shop.example"),
            ("https://shop.example@evil.example", "shop.example"),
            ("file://shop.example", "shop.example"),
            ("shop.example", "shop.example"),
            ("http://localhost:3000 http://evil.example", "localhost:3000"),
        ] {
            assert_eq!(foreign(&[origin], host), 1, "{origin} {host}");
        }
        assert_eq!(foreign(&["http://localhost:3000", "https://evil.example"], "localhost:3000"), 1, "one is enough");
        assert!(lists_origin("https://shop.example/ , https://other.example", "https://SHOP.example"));
        assert!(!lists_origin("https://shop.example", "http://shop.example") && !lists_origin("", "null"));
    }

    proptest! {
        #[test]
        fn whatever_is_named_nobody_panics(list in "\\PC{0,40}", host in "\\PC{0,40}", origin in "[ -~]{0,40}") {
            let _ = (is_this_machine(&host), lists_host(&list, &host), lists_origin(&list, &origin), is_own(&origin, &host));
        }
    }
}
