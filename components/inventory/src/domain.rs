//! The rules of stock: what an order demands, and what becomes of its reservation, in whatever order the news arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towpath_sdk::{Fields, Id, Invalid, Problem, Time, parse};

/// The stock of one SKU, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stock {
    /// Of what.
    pub sku: String,
    /// How many pieces are there.
    pub on_hand: i64,
    /// How many of them are promised to orders.
    pub reserved: i64,
    /// How many are left to promise.
    pub available: i64,
}

/// No SKU has more pieces than this by adjustment.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;
const MAX_DELTA: i64 = 1_000_000_000;

impl Stock {
    /// What there is of a product that nobody has put into stock yet.
    #[must_use]
    pub fn none(sku: &str) -> Self {
        Self { sku: sku.into(), on_hand: 0, reserved: 0, available: 0 }
    }

    /// Why an adjustment is refused; `None` where nothing speaks against it.
    #[must_use]
    pub fn refuses(&self, delta: i64) -> Option<Problem> {
        if self.available.saturating_add(delta) < 0 {
            let detail = format!("Only {} pieces of {} are available.", self.available, self.sku);
            return Some(Problem::conflict("insufficient_stock", detail));
        }
        let too_much = self.on_hand.saturating_add(delta) > MAX_ON_HAND;
        too_much.then(|| Problem::conflict("stock_limit", format!("A SKU has {MAX_ON_HAND} pieces at most.")))
    }
}

/// What a client wants changed in the stock of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// How many pieces come, or go where it is negative.
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
    /// How many pieces came, or went where it is negative.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Time,
}

/// The SKU of a path.
///
/// # Errors
/// 404 `unknown_sku` where no product could have it.
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

/// What an order wants of each SKU, sorted by SKU: whoever locks stock locks it in this order, so that no two wait for
/// each other.
pub type Demand = BTreeMap<String, i64>;

/// The demand of an order. Two lines of one SKU are one demand.
///
/// # Errors
/// 422 `malformed_event`: order never says such a thing.
pub fn demand(lines: &[Line]) -> Result<Demand, Problem> {
    let malformed = || Problem::unprocessable("malformed_event", "An order's lines have positive quantities.");
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
    /// Its lines hold stock.
    Reserved,
    /// Its lines have left the stock.
    Sold,
    /// There was not enough.
    Rejected,
    /// It ended before it was confirmed, and holds nothing any more.
    Released,
    /// It was cancelled after it was confirmed, and its lines are back.
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

    /// As it stands in the table.
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

    /// Reads it from the table.
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
    /// The state in which it usually arrives: a first guess that spares a look.
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
    /// Promise it, or reject the order.
    Reserve,
    /// Give it away, or reject the order: it was confirmed already.
    SellUnreserved,
    /// Give away what was promised.
    Sell,
    /// Take the promise back.
    Release,
    /// Take back what was given away.
    Return,
    /// Only remember it.
    Remember(State),
    /// It is old news.
    Ignore,
}

/// What to do about news in a state; `None` is an order that inventory has never heard of.
///
/// The rule behind every line: an order that has ended holds nothing and never will, and each piece is sold and
/// returned once, in whatever order and how often the news arrives.
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
