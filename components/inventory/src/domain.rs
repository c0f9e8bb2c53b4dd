//! The rules of stock: what an order demands, and how its reservation changes, in every order in which events arrive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towpath_sdk::{Fields, Id, Invalid, Problem, Time, parse};

/// The stock of one SKU, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stock {
    /// The SKU.
    pub sku: String,
    /// The pieces that are there.
    pub on_hand: i64,
    /// Those that are reserved for orders.
    pub reserved: i64,
    /// Those that can still be reserved: `on_hand` less `reserved`.
    pub available: i64,
}

/// The most pieces that an adjustment may bring a SKU to.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;
const MAX_DELTA: i64 = 1_000_000_000;

impl Stock {
    /// The stock of a product without any pieces.
    #[must_use]
    pub fn none(sku: &str) -> Self {
        Self { sku: sku.into(), on_hand: 0, reserved: 0, available: 0 }
    }

    /// Why an adjustment is refused; `None` if it is allowed.
    #[must_use]
    pub fn refuses(&self, delta: i64) -> Option<Problem> {
        if self.available.saturating_add(delta) < 0 {
            let detail = format!("{} has only {} available pieces.", self.sku, self.available);
            return Some(Problem::conflict("insufficient_stock", detail));
        }
        let too_much = self.on_hand.saturating_add(delta) > MAX_ON_HAND;
        too_much.then(|| Problem::conflict("stock_limit", format!("A SKU may have {MAX_ON_HAND} pieces at most.")))
    }
}

/// A change to the stock of a SKU, as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// Pieces to add; negative to remove.
    pub delta: i64,
    /// Why.
    pub reason: String,
}

impl Adjustment {
    /// Reads it from a body.
    #[must_use]
    pub fn read(fields: &Fields<'_>) -> Option<Self> {
        let delta = fields.required("delta", |value| match parse::integer(value, -MAX_DELTA..=MAX_DELTA)? {
            0 => Err(Invalid::new("zero", "must not be 0")),
            delta => Ok(delta),
        });
        let reason = fields.required("reason", |value| parse::text(value, 1..=200));
        Some(Self { delta: delta?, reason: reason? })
    }
}

/// An entry of the ledger that an adjustment made, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Movement {
    /// Its id.
    pub id: Id,
    /// Of what.
    pub sku: String,
    /// Pieces added; negative if removed.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Time,
}

/// The SKU of a path.
///
/// # Errors
/// 404 `unknown_sku` where it is not a valid SKU.
pub fn sku(segment: &str) -> Result<String, Problem> {
    parse::code(&Value::from(segment), 1..=64).map_err(|_| unknown_sku())
}

/// 404: there is no such product.
#[must_use]
pub fn unknown_sku() -> Problem {
    Problem::not_found("unknown_sku", "There is no product with this SKU.")
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// Of what.
    pub sku: String,
    /// How many pieces.
    pub quantity: i64,
}

/// How many pieces an order needs of each SKU, sorted by SKU: units of work lock stock in this order, so that they do
/// not deadlock.
pub type Demand = BTreeMap<String, i64>;

/// The demand of an order: lines of one SKU are added up.
///
/// # Errors
/// 422 `malformed_event` without lines, or with quantities that are not positive.
pub fn demand(lines: &[Line]) -> Result<Demand, Problem> {
    let malformed =
        || Problem::unprocessable("malformed_event", "An order needs lines, and their quantities must be positive.");
    let mut demand = Demand::new();
    for line in lines {
        let total = demand.entry(line.sku.clone()).or_insert(0);
        *total = total.checked_add(line.quantity).filter(|_| line.quantity > 0).ok_or_else(malformed)?;
    }
    if demand.is_empty() { Err(malformed()) } else { Ok(demand) }
}

/// What inventory knows of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Stock is reserved for its lines.
    Reserved,
    /// Its lines are sold.
    Sold,
    /// There was too little stock.
    Rejected,
    /// It ended before it was confirmed; its stock is available again.
    Released,
    /// It was cancelled after it was confirmed; its lines are back in stock.
    Returned,
    /// It ended before inventory heard that it was placed.
    EndedEarly,
    /// It was confirmed before inventory heard that it was placed.
    ConfirmedEarly,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Reserved,
        Self::Sold,
        Self::Rejected,
        Self::Released,
        Self::Returned,
        Self::EndedEarly,
        Self::ConfirmedEarly,
    ];

    /// Its name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Sold => "sold",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Returned => "returned",
            Self::EndedEarly => "ended_early",
            Self::ConfirmedEarly => "confirmed_early",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What inventory hears of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It was placed.
    Placed,
    /// It was paid.
    Confirmed,
    /// It was rejected, cancelled, or has expired.
    Ended,
}

impl News {
    /// The state in which it usually arrives: trying it first saves a query.
    #[must_use]
    pub fn usual_state(self) -> Option<State> {
        match self {
            Self::Placed => None,
            Self::Confirmed | Self::Ended => Some(State::Reserved),
        }
    }
}

/// What to do with the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reserve it, or reject the order.
    Reserve,
    /// Sell it without a reservation, or reject the order: it was confirmed already.
    SellUnreserved,
    /// Sell what is reserved.
    Sell,
    /// Release what is reserved.
    Release,
    /// Put what was sold back into stock.
    Return,
    /// Only record this state.
    Remember(State),
    /// Do nothing: the state already covers it.
    Ignore,
}

/// What follows from news in a state; `None` is an order that inventory has not heard of.
///
/// The rule behind every line: an ended order holds no stock, and each piece is sold and returned once, however often
/// and in whatever order the news arrives.
#[must_use]
pub fn decide(state: Option<State>, news: News) -> Action {
    match (state, news) {
        (None, News::Placed) => Action::Reserve,
        (None, News::Confirmed) => Action::Remember(State::ConfirmedEarly),
        (None | Some(State::ConfirmedEarly), News::Ended) => Action::Remember(State::EndedEarly),
        (Some(State::ConfirmedEarly), News::Placed) => Action::SellUnreserved,
        (Some(State::Reserved), News::Confirmed) => Action::Sell,
        (Some(State::Reserved), News::Ended) => Action::Release,
        (Some(State::Sold), News::Ended) => Action::Return,
        (Some(_), _) => Action::Ignore,
    }
}

#[cfg(test)]
mod tests;
