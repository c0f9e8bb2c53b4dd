//! `POST /v1/queries`: one read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{number, object, word};

/// One read-only statement with parameters of the type `V`, optionally through the cache, optionally waiting for a row.
///
/// ```
/// use towpath_wire::{QueryRequest, Wait};
///
/// // Answers as soon as the parcel is on its way or lost, or without rows after two seconds.
/// let request = QueryRequest {
///     sql: "SELECT status FROM parcels WHERE id = $1 AND status <> 'pending'".into(),
///     params: vec!["P-1".into()],
///     wait: Some(Wait { keys: vec!["parcel/P-1".into()], timeout_ms: 2_000 }),
///     ..QueryRequest::default()
/// };
/// assert_eq!(serde_json::to_value(&request)?["consistency"], "strong");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequestOf<V> {
    /// A SELECT or VALUES, with or without WITH. It runs in a read-only transaction.
    pub sql: String,
    /// The parameters; see the crate's table of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<V>,
    /// Where to read.
    #[serde(default, deserialize_with = "word::read")]
    pub consistency: Consistency,
    /// Answers from the cache on a hit, and fills the cache on a miss.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub cache: Option<QueryCache>,
    /// Waits until the query returns a row. Excludes `cache`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub wait: Option<Wait>,
}

/// A query whose parameters are at hand as JSON.
pub type QueryRequest = QueryRequestOf<Value>;

impl<V> Default for QueryRequestOf<V> {
    fn default() -> Self {
        Self { sql: String::new(), params: Vec::new(), consistency: Consistency::default(), cache: None, wait: None }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// From the primary: sees every unit of work that the relay has answered.
    #[default]
    Strong,
    /// From the replica if one is configured, otherwise from the primary.
    Replica,
}

/// Caches a query's answer under its text and parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryCache {
    /// How long the answer may be reused, in milliseconds.
    #[serde(deserialize_with = "number::u64")]
    pub ttl_ms: u64,
    /// A unit of work that invalidates one of these tags removes the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What a query waits for. A wake-up only makes it run again; its rows decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Run again when a unit of work notifies one of these keys.
    pub keys: Vec<String>,
    /// Stop after this many milliseconds: the answer then has no rows and `timed_out` is true.
    #[serde(deserialize_with = "number::u64")]
    pub timeout_ms: u64,
}

/// The rows of a query.
///
/// ```
/// use towpath_wire::QueryResponse;
///
/// let response: QueryResponse = serde_json::from_str(r#"{"columns": ["n"], "rows": [["12345678901234567890"]]}"#)?;
/// assert_eq!(response.rows[0][0], "12345678901234567890");
/// assert!(!response.cached);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryResponse {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with one value per column.
    pub rows: Vec<Vec<Value>>,
    /// True if the cache answered.
    #[serde(default)]
    pub cached: bool,
    /// True if the query waited and no row came.
    #[serde(default)]
    pub timed_out: bool,
}
