//! `GET`, `PUT` and `DELETE /v1/cache/{key}`: values with a time to live under the service's own prefix.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of a `PUT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachePut {
    /// What to keep.
    pub value: Value,
    /// For how long, in milliseconds; at least 1.
    pub ttl_ms: u64,
    /// A unit of work that invalidates one of these tags removes the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The answer to a `GET` that found something. One that found nothing is a 404 with `cache_miss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// What was kept.
    pub value: Value,
    /// How long it will be kept from now on, in milliseconds.
    pub ttl_ms: u64,
}
