//! `POST /v1/transactions`: one unit of work.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Event;

/// One unit of work: runs as one PostgreSQL transaction, all or nothing, and gets one answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionRequest {
    /// The statements, run in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What follows from them: published if and only if the transaction commits, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// The id of the event that this unit of work handles. Where it is known already nothing runs and the answer is
    /// [`Outcome::Duplicate`]. At most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// Makes the unit of work repeatable by a client's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The isolation level; serialization failures are retried by the relay.
    #[serde(default)]
    pub isolation: Isolation,
    /// Cache tags to invalidate once it has committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalidate: Vec<String>,
    /// Wake-up keys: queries that wait on one of them look again once it has committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

/// One statement: a SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES, with or without WITH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The text, with parameters as `$1`, `$2`, ... It is prepared once per connection and found again by this text:
    /// write values as parameters, never into it.
    pub sql: String,
    /// The parameters, in order; see the crate's table of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Value>,
    /// A name for this step that an error repeats, such as `insufficient_stock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many rows it must touch (or, for a SELECT, return). Where that isn't met everything rolls back, with
    /// [`Code::ExpectationFailed`](crate::Code::ExpectationFailed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// A number of rows: `{"exactly": 1}` or `{"at_least": 1}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// This many, no more and no fewer.
    Exactly(u64),
    /// This many or more.
    AtLeast(u64),
}

impl Expect {
    /// Whether `rows` is a number that was expected.
    #[must_use]
    pub fn is_met_by(self, rows: u64) -> bool {
        match self {
            Self::Exactly(n) => rows == n,
            Self::AtLeast(n) => rows >= n,
        }
    }
}

/// Isolation levels, as in PostgreSQL's documentation, chapter 13.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    #[default]
    ReadCommitted,
    /// All statements see one snapshot.
    RepeatableRead,
    /// As if one after another.
    Serializable,
}

/// A client's idempotency key with the answer that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The client's key, 1 to 255 bytes. It is the service's to make it unique per client and operation.
    pub key: String,
    /// A hash of the request: the same key with another hash is refused.
    pub request_hash: String,
    /// What a later request with this key gets back: stored in the same transaction.
    pub answer: Value,
}

/// The answer to a unit of work that committed, now or before. Read it through [`TransactionResponse::outcome`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionResponse {
    /// True where the event in `inbox` had been handled before: nothing ran.
    #[serde(default)]
    pub duplicate: bool,
    /// True where the idempotency key had been used before by the same request: nothing ran, `answer` is the first one.
    #[serde(default)]
    pub replayed: bool,
    /// The first answer, where `replayed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// One result per step, in order.
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// The ids of the events, in order.
    #[serde(default)]
    pub event_ids: Vec<String>,
}

/// What became of a unit of work.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It ran now, and committed: the result of each step.
    Committed(Vec<StepResult>),
    /// Its event had been handled before; nothing ran.
    Duplicate,
    /// Its idempotency key had been used by the same request before; nothing ran, this is the first answer.
    Replayed(Value),
}

impl TransactionResponse {
    /// The one of three things that happened.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        if self.duplicate {
            Outcome::Duplicate
        } else if self.replayed {
            Outcome::Replayed(self.answer.unwrap_or(Value::Null))
        } else {
            Outcome::Committed(self.results)
        }
    }
}

/// What one step touched and returned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Rows touched or, for a SELECT, returned.
    pub affected: u64,
    /// The names of the columns; empty where the statement returns none.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The rows, each with one value per column.
    #[serde(default)]
    pub rows: Vec<Vec<Value>>,
}
