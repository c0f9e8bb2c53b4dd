//! What is compared: payments and their refunds as the payment service has them, intents and refunds as the provider does.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A payment, as the payment service has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: Uuid,
    /// The order that it pays.
    pub order_id: Uuid,
    /// Its status.
    pub status: String,
    /// In minor units by ISO 4217.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Seconds since it last changed.
    pub age_s: f64,
    /// Whether its intent is cancelled, as far as payment knows, though it was declined before.
    pub closed: bool,
    /// Seconds until payment asks the provider what became of it; none where it doesn't ask.
    pub ask_in_s: Option<f64>,
    /// Its refund, if there is one.
    pub refund: Option<Returned>,
}

/// A refund, as the payment service has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    /// Its status.
    pub status: String,
    /// In minor units by ISO 4217.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// The provider's name for it, once the provider has taken it.
    pub reference: Option<String>,
    /// Seconds until payment asks the provider what became of it; none where it asks no more.
    pub ask_in_s: Option<f64>,
}

/// An intent, as the provider has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The provider's name for it.
    pub reference: String,
    /// The order that it was made for, if it says one.
    pub order_id: Option<Uuid>,
    /// In Stripe's words.
    pub status: String,
    /// How much it is for, in the provider's units.
    pub amount: i64,
    /// How much was charged.
    pub received: i64,
    /// In lower case.
    pub currency: String,
    /// When it was made, in seconds since 1970.
    pub created: f64,
}

/// A refund, as the provider has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// The provider's name for it.
    pub reference: String,
    /// The order that it was made for, if it says one.
    pub order_id: Option<Uuid>,
    /// In Stripe's words.
    pub status: String,
    /// In the provider's units.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// When it was made, in seconds since 1970.
    pub created: f64,
}

impl Intent {
    pub(super) fn is_charged(&self) -> bool {
        self.status == "succeeded"
    }
}

impl Refund {
    /// Whether its money is back with the customer, or on its way there.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.status.as_str(), "failed" | "canceled")
    }

    /// Its status in our words.
    pub(super) fn outcome(&self) -> &'static str {
        match self.status.as_str() {
            "succeeded" => "succeeded",
            "failed" | "canceled" => "failed",
            _ => "pending",
        }
    }
}
