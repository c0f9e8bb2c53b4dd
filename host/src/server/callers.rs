//! Who may call on the listener for deliveries: the relay, and no web page. A browser lends a page the network that it stands
//! in, and lets a name of the page's own lead anywhere; so the host serves no request that a page sent, and none for a name
//! that it does not know. Which names and pages the public listener serves is the application's own rule.

use http::uri::Authority;
use http::{HeaderMap, header};

use crate::problem::Problem;

/// Checks a request on the listener for deliveries. `names`: those that lead to this host, beside addresses and `localhost`.
///
/// # Errors
/// 421 for another name, 403 for a request of a web page.
pub(super) fn check(headers: &HeaderMap, host: &Authority, names: &[String]) -> Result<(), Problem> {
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    // Nobody can make an address lead elsewhere.
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    if !is_address && !is_local && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return Err(Problem::Misdirected);
    }
    if headers.contains_key(header::ORIGIN) { Err(Problem::ForeignOrigin) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_are_served_and_pages_are_not() {
        let names = ["relay-side.example".to_owned()];
        let host = |host: &'static str| check(&HeaderMap::new(), &Authority::from_static(host), &names);
        for known in
            ["127.0.0.1:3100", "[::1]:1", "10.1.2.3:80", "LOCALHOST", "a.localhost:1", "Relay-Side.example:3100"]
        {
            assert_eq!(host(known), Ok(()), "{known}");
        }
        for unknown in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "side.example"] {
            assert_eq!(host(unknown), Err(Problem::Misdirected), "{unknown}");
        }
        let page = [(header::ORIGIN, http::HeaderValue::from_static("http://localhost:3100"))].into_iter().collect();
        assert_eq!(check(&page, &Authority::from_static("localhost:3100"), &names), Err(Problem::ForeignOrigin));
    }
}
