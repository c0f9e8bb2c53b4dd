//! Tables of what Spin accepts, refuses and allows.

use super::*;

#[track_caller]
fn expect(entries: &[&str], cases: &[(&str, bool)]) {
    let components = ["order".to_owned(), "product".to_owned()];
    let hosts = AllowedHosts::parse(entries.iter().copied(), &components).unwrap();
    for (address, expected) in cases {
        let uri: http::Uri = address.parse().unwrap();
        let authority = uri.authority().unwrap();
        let allowed = hosts.allow(uri.scheme_str().unwrap(), authority.host(), authority.port_u16());
        assert_eq!(allowed, *expected, "{entries:?} {address}");
    }
}

#[test]
fn entries_that_are_accepted() {
    for entry in [
        "http://spin.example.dev",
        "http://spin.example.dev/",
        "http://spin.example.dev:4444",
        "http://spin.example.dev:4444/",
        "https://spin.example.dev:5555",
        "http://spin.example.dev:4444..5555",
        "*://spin.example.dev:7777",
        "http://self",
        "http://localhost",
        "http://localhost:3001",
        "http://*.example.com",
        "http://*.Example.COM",
        "http://192.168.1.1",
        "http://192.168.1.1:3002",
        "http://[::1]",
        "http://[::1]:8001",
        "http://[::1]:8080/",
        "http://[::1]:*",
        "http://[::1]:8000..9000",
        "*://127.0.0.0/24:80",
        "http://10.0.0.0/8",
        "*://ff00::/8:80",
        "http://2001:db8::/32",
        "http://2001:db8::/32:443",
        "*://*:*",
        "http://*",
        "https://*:*",
        "redis://cache.example.com",
        "http://*.spin.internal",
    ] {
        assert!(entry.parse::<AllowedHost>().is_ok(), "{entry}: {:?}", entry.parse::<AllowedHost>());
    }
}

#[test]
fn entries_that_are_refused() {
    for entry in [
        "*",
        "",
        ":",
        "?",
        "spin.example.dev",
        "spin.example.dev:80",
        "localhost",
        "localhost:3001",
        "*://127.0.0.0/24",
        "*://example.com",
        "ftp://example.com",
        "insecure:allow-all",
        "{http,https}://example.com",
        "ht2p://example.com",
        "http://spin.example.dev/a",
        "http://spin.example.dev:6666/a/b",
        "http://*.example.dev/a",
        "http://example.com:notaport",
        "http://example.com:8080..70000",
        "http://example.com:8080..",
        "http://example.com:8O8O",
        "http://self:notaport",
        "http://*:notaport",
        "http://127.0.0.1:notaport",
        "http://127.0.0.0/24/p",
        "http://*.",
        "http://*.*.com",
        "http://a.*.com",
        "http://ex*mple.com",
        "http://*.127.0.0.1",
        "http://{a,b}",
        "http://[::1]/foo",
        "http://ff00::/8/extra",
        "http://[::1",
        "http://[::1]junk",
        "http://[::1]::80",
        "http://[v1.]",
        "[::1]:8080",
    ] {
        assert!(entry.parse::<AllowedHost>().is_err(), "{entry}: {:?}", entry.parse::<AllowedHost>());
    }
}

#[test]
fn scheme_host_and_port_must_all_fit() {
    expect(
        &["*://spin.example.dev:443", "http://example.com:8383", "https://my.api.com/"],
        &[
            ("http://example.com:8383/foo/bar", true),
            ("https://spin.example.dev", true),
            ("https://spin.example.dev/", true),
            ("http://spin.example.dev:443/", true),
            ("https://my.api.com", true),
            ("https://my.api.com:443/x", true),
            ("http://my.api.com:443", false),
            ("http://example.com/", false),
            ("https://example.com:8383/", false),
            ("http://other.com/", false),
            ("http://example.com.evil.org:8383/", false),
            ("http://example.com:8383@evil.org/", false),
            ("http://evil.org:8383@example.com:8383/", true),
        ],
    );
}

#[test]
fn nothing_is_allowed_where_nothing_is_written() {
    expect(&[], &[("http://example.com", false), ("http://order.spin.internal", false), ("http://127.0.0.1", false)]);
    expect(&["", "http://", "https://", "https://three"], &[("https://three", true), ("https://other", false)]);
    assert!(!AllowedHosts::default().allow_self());
}

#[test]
fn a_star_before_a_domain_allows_its_subdomains_only() {
    expect(
        &["http://*.example.com", "http://*.example2.com:8383"],
        &[
            ("http://a.example.com/foo", true),
            ("http://A.Example.COM/foo", true),
            ("http://a.b.example.com", true),
            ("http://a.b.example2.com:8383/foo", true),
            ("http://a.b.example2.com/foo", false),
            ("http://example.com/foo", false),
            ("http://example.com:8383/foo", false),
            ("http://myexample.com/foo", false),
        ],
    );
}

#[test]
fn a_port_range_ends_before_its_end() {
    expect(
        &["http://example.com:8000..8002"],
        &[
            ("http://example.com:7999", false),
            ("http://example.com:8000", true),
            ("http://example.com:8001", true),
            ("http://example.com:8002", false),
            ("http://example.com", false),
        ],
    );
}

#[test]
fn networks_match_addresses_and_no_names() {
    expect(
        &["*://127.0.0.1/24:63551", "http://2001:db8::/32"],
        &[
            ("http://127.0.0.1:63551", true),
            ("http://127.0.0.200:63551", true),
            ("http://127.0.1.1:63551", false),
            ("http://localhost:63551", false),
            ("http://[2001:db8:abcd::1]/x", true),
            ("http://[2001:db9::1]", false),
        ],
    );
}

#[test]
fn addresses_are_compared_by_what_they_mean() {
    expect(
        &["http://127.0.0.1:80", "http://[::1]"],
        &[
            ("http://127.1", true),
            ("http://0x7f000001", true),
            ("http://2130706433", true),
            ("http://127.0.0.2", false),
            ("http://[::1]:80", true),
            ("http://[0:0::1]", true),
            ("http://[::2]", false),
            ("http://[::1]:81", false),
        ],
    );
}

#[test]
fn everything_is_allowed_on_demand() {
    expect(
        &["*://*:*"],
        &[("http://example.com:1", true), ("https://[::2]", true), ("http://order.spin.internal", true)],
    );
    expect(
        &["http://*"],
        &[("http://example.com", true), ("http://example.com:81", false), ("https://example.com", false)],
    );
}

#[test]
fn a_star_before_spin_internal_allows_the_components_there_are() {
    expect(
        &["http://*.spin.internal"],
        &[
            ("http://order.spin.internal/x", true),
            ("http://absent.spin.internal", false),
            ("http://a.order.spin.internal", false),
        ],
    );
    expect(
        &["http://order.spin.internal"],
        &[
            ("http://order.spin.internal/x", true),
            ("http://product.spin.internal", false),
            ("https://order.spin.internal", false),
        ],
    );
}

#[test]
fn the_application_itself_needs_to_be_named() {
    for (entry, expected) in [
        ("http://self", true),
        ("https://self", true),
        ("*://*:*", true),
        ("http://*:*", true),
        ("http://example.com", false),
        ("redis://*", false),
    ] {
        assert_eq!(AllowedHosts::parse([entry], &[]).unwrap().allow_self(), expected, "{entry}");
    }
    expect(&["http://self"], &[("http://self/", false), ("http://localhost", false)]);
}
