//! Service chaining: `http://NAME.spin.internal` is the component NAME of the same application, called in process.

use std::net::{Ipv4Addr, SocketAddr};

/// The end of every host name that means a component.
pub(crate) const SUFFIX: &str = ".spin.internal";

/// Who called, as far as a called component can see.
pub(crate) const CALLER_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The component that a host name means.
pub(crate) fn target(host: &str) -> Option<&str> {
    host.strip_suffix(SUFFIX).filter(|name| !name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn only_one_label_before_spin_internal_is_a_component() {
        for (host, expected) in [
            ("order.spin.internal", Some("order")),
            ("a-b.spin.internal", Some("a-b")),
            ("a.b.spin.internal", None),
            ("spin.internal", None),
            ("order.spin.internal.example.com", None),
            ("orderspin.internal", None),
        ] {
            assert_eq!(target(host), expected, "{host}");
        }
    }
}
