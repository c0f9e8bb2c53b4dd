//! What an audit looks at.

use uuid::Uuid;

/// Everything, or some orders and SKUs: a test that runs beside others audits its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub(crate) orders: Option<Vec<Uuid>>,
    pub(crate) skus: Option<Vec<String>>,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// These orders, which must exist, with what belongs to them; and the stock of these SKUs.
    #[must_use]
    pub fn only(orders: Vec<Uuid>, skus: Vec<String>) -> Self {
        Self { orders: Some(orders), skus: Some(skus) }
    }
}
