//! The five invariants, each as a function from rows to findings. No I/O.
//!
//! The databases are not one snapshot, and the saga takes a moment between them. So there are two kinds of findings:
//! what must never be, not even for a moment, because one transaction of one database decides it; and what must not
//! last, which counts as under way while something of its order changed less than `grace_s` seconds ago.

mod books;
mod confirmation;
mod ends;
mod existence;
mod money;
mod stock;

#[cfg(test)]
mod tests;

use uuid::Uuid;

use super::report::Report;
use super::snapshot::Snapshot;
use books::Books;

/// What a judgement needs beside the rows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// An order that changed less than this many seconds ago may still be under way.
    pub grace_s: f64,
    /// Orders that clients were told exist.
    pub answered: Vec<Answered>,
    /// Whether an order may wait for its customer or a bank, for as long as orders expire. Whoever waits for the end of all
    /// orders says no.
    pub may_wait: bool,
}

/// An answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Answered {
    /// The order in it.
    #[serde(alias = "order_id")]
    pub id: Uuid,
    /// The idempotency key that it was the answer to.
    #[serde(default, alias = "idempotency_key")]
    pub key: Option<String>,
}

/// Looks at all five.
#[must_use]
pub fn judge(snapshot: &Snapshot, rules: &Rules) -> Report {
    let books = Books::new(snapshot);
    Report {
        invariants: vec![
            existence::judge(&books, rules),
            confirmation::judge(&books, rules),
            stock::judge(snapshot),
            ends::judge(&books, rules),
            money::judge(&books, rules),
        ],
    }
}
