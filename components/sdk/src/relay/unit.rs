//! A unit of work: statements and events that the relay carries out all or not at all.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use towpath_wire::{Event, Expect, Idempotency, Isolation, Step, TransactionRequest, TransactionResponse};

use super::Rows;
use crate::{Id, StoredAnswer};

/// A unit of work for the relay to run as one transaction.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::{UnitOfWork, relay::event};
///
/// let unit = UnitOfWork::new()
///     .step("UPDATE stock SET on_hand = on_hand - $2 WHERE sku = $1 AND on_hand >= $2", [json!("A"), json!(3)])
///     .expect(1, "insufficient_stock")
///     .event(event("stock.events", "A", "stock.taken", &json!({"sku": "A"})))
///     .invalidate("stock:A");
/// # let _ = unit;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct UnitOfWork(TransactionRequest);

/// The result of a unit of work that committed, now or before.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It committed now: the rows of each step.
    Committed(Vec<Rows>),
    /// Its event is a duplicate: it was handled before, and nothing ran.
    Duplicate,
    /// Its idempotency key was used before by the same request: nothing ran, and this is the first answer.
    Replayed(Value),
}

/// An event to publish.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::relay::event;
///
/// let event = event("stock.events", "A", "stock.taken", &json!({"sku": "A"}));
/// assert_eq!((event.topic.as_str(), event.kind.as_str()), ("stock.events", "stock.taken"));
/// ```
#[must_use]
pub fn event(topic: &str, key: impl Into<String>, kind: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_value(data).unwrap_or(Value::Null);
    Event { topic: topic.into(), key: key.into(), kind: kind.into(), id: None, subject: None, data }
}

impl UnitOfWork {
    /// One that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement.
    pub fn step(mut self, sql: &str, params: impl Into<Vec<Value>>) -> Self {
        self.0.steps.push(Step { sql: sql.into(), params: params.into(), label: None, expect: None });
        self
    }

    /// The last step must touch exactly this many rows. Otherwise everything rolls back, and
    /// [`RelayError::unmet`](super::RelayError::unmet) is `label`.
    pub fn expect(self, rows: u64, label: &str) -> Self {
        self.expecting(Expect::Exactly(rows), label)
    }

    /// The last step must touch at least this many rows; see [`UnitOfWork::expect`].
    pub fn expect_at_least(self, rows: u64, label: &str) -> Self {
        self.expecting(Expect::AtLeast(rows), label)
    }

    fn expecting(mut self, expect: Expect, label: &str) -> Self {
        if let Some(step) = self.0.steps.last_mut() {
            step.expect = Some(expect);
            step.label = Some(label.into());
        }
        self
    }

    /// Adds an event to publish.
    pub fn event(mut self, event: Event) -> Self {
        self.0.events.push(event);
        self
    }

    /// The event that this handles; [`Delivery::unit`](crate::Delivery::unit) sets it.
    pub fn inbox(mut self, id: String) -> Self {
        self.0.inbox = Some(id);
        self
    }

    /// A client may repeat it under its key: [`IdempotencyKey::within`](crate::IdempotencyKey::within). `hash` is the request's.
    pub fn idempotent(mut self, key: String, hash: &str, answer: &StoredAnswer) -> Self {
        self.0.idempotency = Some(Idempotency { key, request_hash: hash.into(), answer: answer.to_stored() });
        self
    }

    /// Lets the SDK repeat a unit of work without inbox id or client's key if its answer is lost, under a key of its own.
    /// [`Outcome::Replayed`] then means that the first try committed; its rows are lost.
    pub fn repeatable(mut self) -> Self {
        let key = format!("unit:{}", Id::new());
        self.0.idempotency = Some(Idempotency { request_hash: key.clone(), key, answer: Value::Null });
        self
    }

    /// At another isolation level than READ COMMITTED.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.0.isolation = isolation;
        self
    }

    /// Invalidates a cache tag once it has committed.
    pub fn invalidate(mut self, tag: impl Into<String>) -> Self {
        self.0.invalidate.push(tag.into());
        self
    }

    /// Wakes the queries that wait for this key once it has committed.
    pub fn notify(mut self, key: impl Into<String>) -> Self {
        self.0.notify.push(key.into());
        self
    }

    /// How many steps it has: the index of the next one's rows in [`Outcome::Committed`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.steps.len()
    }

    /// Whether it has no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.steps.is_empty()
    }

    pub(crate) fn is_repeatable(&self) -> bool {
        self.0.inbox.is_some() || self.0.idempotency.is_some()
    }

    /// What goes over the wire.
    #[must_use]
    pub fn into_request(self) -> TransactionRequest {
        self.0
    }
}

impl From<TransactionResponse> for Outcome {
    fn from(response: TransactionResponse) -> Self {
        match response.outcome() {
            towpath_wire::Outcome::Committed(results) => Self::Committed(results.into_iter().map(Rows::from).collect()),
            towpath_wire::Outcome::Duplicate => Self::Duplicate,
            towpath_wire::Outcome::Replayed(answer) => Self::Replayed(answer),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_unit_is_written_as_the_interface_wants_it() {
        let unit = UnitOfWork::new()
            .step("UPDATE t SET a = $1", [json!(1)])
            .expect(1, "missing")
            .step("SELECT 1", [])
            .event(event("t.events", "k", "t.changed", &json!({"a": 1})))
            .inbox("/s#1".into())
            .invalidate("t")
            .notify("w");
        let request = unit.into_request();
        assert_eq!(
            serde_json::to_value(&request).expect("JSON"),
            json!({
                "steps": [
                    {"sql": "UPDATE t SET a = $1", "params": [1], "label": "missing", "expect": {"exactly": 1}},
                    {"sql": "SELECT 1"}
                ],
                "events": [{"topic": "t.events", "key": "k", "type": "t.changed", "data": {"a": 1}}],
                "inbox": "/s#1",
                "isolation": "read_committed",
                "invalidate": ["t"],
                "notify": ["w"]
            })
        );
    }

    #[test]
    fn only_a_unit_with_a_key_is_repeated() {
        assert!(!UnitOfWork::new().is_repeatable());
        assert!(UnitOfWork::new().inbox("i".into()).is_repeatable());
        let (one, two) = (UnitOfWork::new().repeatable(), UnitOfWork::new().repeatable());
        assert!(one.is_repeatable() && one != two);
    }
}
