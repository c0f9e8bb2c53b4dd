//! `POST /v1/queries`: one read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One read-only statement, optionally through the cache, optionally waiting for a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// A SELECT or VALUES, with or without WITH. It runs in a read-only transaction.
    pub sql: String,
    /// The parameters; see the crate's table of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Value>,
    /// Where to read.
    #[serde(default)]
    pub consistency: Consistency,
    /// Answers from the cache where it can, and fills it where it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<QueryCache>,
    /// Waits until the query returns a row. Excludes `cache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// From the primary: sees every commit that was answered before.
    #[default]
    Strong,
    /// From a replica where one is configured, otherwise from the primary.
    Replica,
}

/// Caches a query's answer under its text and parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryCache {
    /// How long the answer may be reused, in milliseconds.
    pub ttl_ms: u64,
    /// A unit of work that invalidates one of these tags ends the answer's life early.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What a query waits for. A wake-up is a hint: the query decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Look again when a unit of work notifies one of these keys.
    pub keys: Vec<String>,
    /// Give up after this many milliseconds: the answer then has no rows and `timed_out`.
    pub timeout_ms: u64,
}

/// The rows of a query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryResponse {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with one value per column.
    pub rows: Vec<Vec<Value>>,
    /// True where the cache answered.
    #[serde(default)]
    pub cached: bool,
    /// True where the query waited in vain.
    #[serde(default)]
    pub timed_out: bool,
}
