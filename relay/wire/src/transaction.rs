//! `POST /v1/transactions`: one unit of work.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{EventOf, number, object, word};

/// One unit of work with values of the type `V`: the relay runs it as one PostgreSQL transaction, all or nothing, and answers once.
///
/// ```
/// use towpath_wire::{Step, TransactionRequest};
///
/// // Handles an event: a second unit of work with this event id is a duplicate, and changes nothing.
/// let request = TransactionRequest {
///     steps: vec![Step {
///         sql: "UPDATE jars SET n = n + $1 WHERE id = $2".into(),
///         params: vec![1.into(), "a".into()],
///         label: None,
///         expect: None,
///     }],
///     inbox: Some("0190f3a2-event".into()),
///     ..TransactionRequest::default()
/// };
/// let json = serde_json::to_string(&request)?;
/// assert_eq!(serde_json::from_str::<TransactionRequest>(&json)?, request);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "V: Deserialize<'de> + Default"))]
pub struct TransactionRequestOf<V> {
    /// The statements, run in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "object::list")]
    pub steps: Vec<StepOf<V>>,
    /// The events that follow from them. The relay publishes them, in this order, if and only if the transaction commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "object::list")]
    pub events: Vec<EventOf<V>>,
    /// The id of the event that this unit of work handles, 1 to 255 bytes. The relay writes it into the inbox in the same
    /// transaction. If the inbox holds it already, the unit of work is a duplicate: nothing runs, and the answer is
    /// [`Outcome::Duplicate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// Makes the unit of work repeatable under a client's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub idempotency: Option<IdempotencyOf<V>>,
    /// The isolation level. The relay retries serialization failures.
    #[serde(default, deserialize_with = "word::read")]
    pub isolation: Isolation,
    /// Cache tags to invalidate after the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalidate: Vec<String>,
    /// Wake-up keys: queries that wait for one of them run again after the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

/// A unit of work whose values are at hand as JSON.
pub type TransactionRequest = TransactionRequestOf<Value>;

impl<V> Default for TransactionRequestOf<V> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            events: Vec::new(),
            inbox: None,
            idempotency: None,
            isolation: Isolation::default(),
            invalidate: Vec::new(),
            notify: Vec::new(),
        }
    }
}

/// One statement: a SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES, with or without WITH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOf<V> {
    /// The text, with parameters as `$1`, `$2`, ... It is prepared once per connection and found again by this text:
    /// write values as parameters, never into it.
    pub sql: String,
    /// The parameters, in order; see the crate's table of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<V>,
    /// A name for this step that an error repeats, such as `too_few_jars`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many rows it must touch (or, for a SELECT, return). If it touches another number, the unit of work rolls back
    /// with [`Code::ExpectationFailed`](crate::Code::ExpectationFailed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// A statement whose parameters are at hand as JSON.
pub type Step = StepOf<Value>;

/// A number of rows: `{"exactly": 1}` or `{"at_least": 1}`.
///
/// ```
/// use towpath_wire::Expect;
///
/// assert_eq!(serde_json::to_string(&Expect::Exactly(1))?, r#"{"exactly":1}"#);
/// assert!(Expect::AtLeast(1).is_met_by(2));
/// assert!(!Expect::Exactly(1).is_met_by(0));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// This many, no more and no fewer.
    Exactly(u64),
    /// This many or more.
    AtLeast(u64),
}

/// By hand: what serde derives says of two kinds, or none, that it is no JSON.
impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(ExpectVisitor)
    }
}

struct ExpectVisitor;

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Kind {
    Exactly,
    AtLeast,
}

#[derive(Deserialize)]
struct Rows(#[serde(deserialize_with = "number::u64")] u64);

impl<'de> Visitor<'de> for ExpectVisitor {
    type Value = Expect;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with exactly or at_least")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expect, A::Error> {
        let mut expect = None;
        while let Some(kind) = map.next_key::<Kind>()? {
            match expect {
                Some((before, _)) if before == kind => {
                    return Err(A::Error::duplicate_field(if kind == Kind::Exactly { "exactly" } else { "at_least" }));
                }
                Some(_) => return Err(A::Error::custom("a step expects one thing, not exactly and at_least both")),
                None => expect = Some((kind, map.next_value::<Rows>()?.0)),
            }
        }
        match expect {
            Some((Kind::Exactly, rows)) => Ok(Expect::Exactly(rows)),
            Some((Kind::AtLeast, rows)) => Ok(Expect::AtLeast(rows)),
            None => Err(A::Error::custom("it is empty: a step expects exactly or at_least so many rows")),
        }
    }
}

impl Expect {
    /// Whether this many rows meet it.
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

/// A client's idempotency key with the answer that belongs to it. The relay stores both in the same transaction.
///
/// ```
/// use towpath_wire::Idempotency;
///
/// let idempotency = Idempotency {
///     key: "parcel-7/send/4f2c".into(),
///     request_hash: "sha256 of the request's body".into(),
///     answer: serde_json::json!({"status": 201, "id": "0190f3a2"}),
/// };
/// assert_eq!(serde_json::to_value(&idempotency)?["answer"]["status"], 201);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdempotencyOf<V> {
    /// The key, 1 to 255 bytes. The service makes it unique per client and operation.
    pub key: String,
    /// A hash of the request, 1 to 255 bytes. The relay refuses the same key with another hash.
    pub request_hash: String,
    /// What a later request with this key gets back.
    pub answer: V,
}

/// A client's idempotency key whose answer is at hand as JSON.
pub type Idempotency = IdempotencyOf<Value>;

/// The answer to a unit of work that committed, now or before. Read it through [`TransactionResponse::outcome`].
///
/// ```
/// use towpath_wire::{Outcome, TransactionResponse};
///
/// let response: TransactionResponse = serde_json::from_str(r#"{"duplicate": true}"#)?;
/// assert_eq!(response.outcome(), Outcome::Duplicate);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionResponse {
    /// True for a duplicate that the inbox found: the event in `inbox` was handled before, and nothing ran.
    #[serde(default)]
    pub duplicate: bool,
    /// True for a duplicate that the idempotency key found: the same request committed before, and nothing ran. `answer` is
    /// the first answer.
    #[serde(default)]
    pub replayed: bool,
    /// The first answer, if `replayed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// One result per step, in order.
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// The ids of the events, in order.
    #[serde(default)]
    pub event_ids: Vec<String>,
}

/// How a unit of work ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It ran now, and committed: the result of each step.
    Committed(Vec<StepResult>),
    /// A duplicate: its event was handled before. Nothing ran.
    Duplicate,
    /// A duplicate: the same request committed under its idempotency key before. Nothing ran; this is the first answer.
    Replayed(Value),
}

impl TransactionResponse {
    /// Which of the three it is.
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
