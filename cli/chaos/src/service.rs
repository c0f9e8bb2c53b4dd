//! The services whose databases clients can miss.

/// The services whose databases a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Service {
    Product,
    Inventory,
    Order,
    Payment,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Product, Self::Inventory, Self::Order, Self::Payment];

    /// As parts, databases and topics name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Inventory => "inventory",
            Self::Order => "order",
            Self::Payment => "payment",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_services_are_those_of_relay_toml_that_have_a_database() {
        let services = towpath_stack::testing::services();
        let known: BTreeSet<&str> = Service::ALL.into_iter().map(Service::name).collect();
        let databases: BTreeSet<&str> = services.databases().collect();
        assert_eq!(known, databases, "Service in cli/chaos/src/service.rs, and relay.toml");
    }
}
