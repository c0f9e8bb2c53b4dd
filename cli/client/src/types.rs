//! What the public API answers, as far as its callers look at it. Unknown fields are passed over: a client must not
//! break when the API learns something.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// An amount in minor units (cents) with its ISO 4217 code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217, upper case.
    pub currency: String,
}

impl Money {
    /// Euro cents.
    #[must_use]
    pub fn eur(amount: i64) -> Self {
        Self { amount, currency: "EUR".into() }
    }
}

/// A product of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Product {
    /// Its id.
    pub id: Uuid,
    /// Its SKU, unique.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Its description, where it has one.
    #[serde(default)]
    pub description: Option<String>,
    /// What one piece costs.
    pub price: Money,
    /// Whether it can be ordered.
    pub active: bool,
    /// Counts its changes.
    pub version: i64,
}

/// The stock of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stock {
    /// The SKU.
    pub sku: String,
    /// Pieces in the house.
    pub on_hand: i64,
    /// Pieces promised to open orders.
    pub reserved: i64,
    /// Pieces that can be promised.
    pub available: i64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// Who placed it.
    pub customer_id: String,
    /// Where it stands.
    pub status: String,
    /// Why it ended as it did, where there is something to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it costs.
    pub total: Money,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// Its payment, once there is one.
    #[serde(default)]
    pub payment_id: Option<Uuid>,
    /// What its payment asks of the customer: `requires_action`, `requires_payment_method`.
    #[serde(default)]
    pub payment_state: Option<String>,
    /// What the customer shows to the provider to authenticate. Only who has placed the order gets it.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// What one piece cost when the order was placed.
    pub unit_price: Money,
    /// What the line costs.
    pub total: Money,
}

/// Whether an order in this status moves only by somebody's hand: nothing of its saga is under way.
#[must_use]
pub fn is_end_state(status: &str) -> bool {
    matches!(status, "confirmed" | "shipped" | "delivered" | "rejected" | "cancelled" | "expired")
}

/// One entry of an order's history.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HistoryEntry {
    /// RFC 3339.
    pub at: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event that caused it.
    #[serde(default)]
    pub event_id: Option<String>,
    /// What else there is to say.
    #[serde(default)]
    pub detail: Value,
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: Uuid,
    /// The order that it pays.
    pub order_id: Uuid,
    /// `captured`, `declined`, `refunded`, ...
    pub status: String,
    /// How much.
    pub amount: Money,
    /// Why it was declined or refunded.
    #[serde(default)]
    pub reason: Option<String>,
    /// The provider's own id for it.
    #[serde(default)]
    pub provider_reference: Option<String>,
    /// What a person has to see to at the provider.
    #[serde(default)]
    pub cases: Vec<PaymentCase>,
}

/// A dispute, or money that went back without Towpath.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PaymentCase {
    /// `dispute` or `refunded_elsewhere`.
    pub kind: String,
    /// The provider's own name for it.
    pub reference: String,
    /// The provider's word for where it stands.
    pub status: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next page begins; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A problem document (RFC 9457) of the public API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status, once more.
    pub status: u16,
    /// The stable code that programs decide on.
    pub code: String,
    /// This occurrence, for a person.
    pub detail: String,
    /// Every field that is wrong, where input was refused.
    #[serde(default)]
    pub errors: Vec<WrongField>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WrongField {
    /// Where it stands, such as `lines[1].quantity`.
    pub field: String,
    /// The stable code.
    pub code: String,
    /// For a person.
    pub detail: String,
}
