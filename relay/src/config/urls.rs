//! URLs, routes and addresses in relay.toml: whether they can be called. Pure rules.

/// What goes behind the URL of a component as it stands, and arrives as it stands.
pub(super) fn is_route(route: &str) -> bool {
    let is_path = route.starts_with('/') && route.parse::<http::uri::PathAndQuery>().is_ok_and(|p| p.query().is_none());
    is_path && route.is_ascii() && !route.contains('#') && !route.split('/').any(|part| part == "." || part == "..")
}

/// A URL of plain HTTP that can be called as it stands.
pub(super) fn is_http_url(url: &str) -> bool {
    let reaches = |authority: &http::uri::Authority| {
        let text = authority.as_str();
        let names_port = text.rsplit(']').next().is_some_and(|end| end.contains(':'));
        !text.contains('@') && (!names_port || authority.port_u16().is_some_and(|port| port > 0))
    };
    let is_one = |uri: http::Uri| {
        uri.scheme_str() == Some("http") && uri.authority().is_some_and(reaches) && uri.query().is_none()
    };
    !url.contains('#') && url.parse::<http::Uri>().is_ok_and(is_one)
}

/// `host:port`
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<http::uri::Authority>().is_ok_and(|address| address.port_u16().is_some() && !text.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_that_can_be_called() {
        for url in ["http://h", "http://h:1/p", "http://127.0.0.1:65535", "http://[::1]", "http://[::1]:80/p"] {
            assert!(is_http_url(url), "{url}");
        }
        let wrong = [
            "http://h:99999",
            "http://h:0",
            "http://h:",
            "http://h/#f",
            "http://u:p@h:1",
            "https://h",
            "http://h?q",
            "h",
        ];
        for url in wrong {
            assert!(!is_http_url(url), "{url}");
        }
    }

    #[test]
    fn a_route_arrives_as_it_stands() {
        for route in ["/", "/a", "/a/b.c", "/a%20b", "/..a"] {
            assert!(is_route(route), "{route}");
        }
        for route in ["a", "/a#b", "/a?b", "/../a", "/a/..", "/./a", "/\u{e9}", "/a b"] {
            assert!(!is_route(route), "{route}");
        }
    }
}
