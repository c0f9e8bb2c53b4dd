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
