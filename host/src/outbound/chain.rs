//! Service chaining: a request to `http://NAME.spin.internal` calls the component NAME of the same application in process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The domain of host names that name a component.
pub(super) const SUFFIX: &str = ".spin.internal";

/// The client address that a component sees if another component calls it.
pub(crate) const CALLER_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The component that a host name names.
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
