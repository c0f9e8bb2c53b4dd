//! What the typed calls send. Bodies that are wrong on purpose go through [`Client::call`](crate::Client::call) as raw
//! JSON: these types can't say anything wrong.

use serde::Serialize;

use crate::types::Money;

/// A product to create.
#[derive(Clone, Debug, Serialize)]
pub struct NewProduct {
    /// Unique.
    pub sku: String,
    /// For people.
    pub name: String,
    /// For people who want to know more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What one piece costs.
    pub price: Money,
}

/// An order to place.
#[derive(Clone, Debug, Serialize)]
pub struct NewOrder {
    /// Who places it.
    pub customer_id: String,
    /// What is ordered.
    pub lines: Vec<NewLine>,
    /// How it is paid.
    pub payment_method: String,
    /// `wait`: a declined payment doesn't end the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_decline: Option<String>,
}

/// A line of an order to place.
#[derive(Clone, Debug, Serialize)]
pub struct NewLine {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
}

impl NewOrder {
    /// An order of one line that pays.
    #[must_use]
    pub fn paying(customer_id: &str, sku: &str, quantity: i64) -> Self {
        Self {
            customer_id: customer_id.into(),
            lines: vec![NewLine { sku: sku.into(), quantity }],
            payment_method: "pm_card_visa".into(),
            on_decline: None,
        }
    }

    /// The same, waiting for another payment method after a decline.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.on_decline = Some("wait".into());
        self
    }

    /// The same with another payment method.
    #[must_use]
    pub fn by(mut self, payment_method: &str) -> Self {
        self.payment_method = payment_method.into();
        self
    }

    /// The same with a further line.
    #[must_use]
    pub fn and(mut self, sku: &str, quantity: i64) -> Self {
        self.lines.push(NewLine { sku: sku.into(), quantity });
        self
    }
}
