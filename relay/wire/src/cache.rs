//! `GET`, `PUT` and `DELETE /v1/cache/{key}`: values with a time to live under the service's own prefix.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::number;

/// The body of a `PUT`, with a value of the type `V`.
///
/// ```
/// use towpath_wire::CachePut;
///
/// let entry = CachePut { value: serde_json::json!({"n": 1}), ttl_ms: 60_000, tags: vec!["jars".into()] };
/// assert_eq!(serde_json::to_string(&entry)?, r#"{"value":{"n":1},"ttl_ms":60000,"tags":["jars"]}"#);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachePutOf<V> {
    /// The value.
    pub value: V,
    /// Its time to live in milliseconds; at least 1.
    #[serde(deserialize_with = "number::u64")]
    pub ttl_ms: u64,
    /// A unit of work that invalidates one of these tags removes the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A body of a `PUT` whose value is at hand as JSON.
pub type CachePut = CachePutOf<Value>;

/// The answer to a `GET` that found a value. Otherwise the relay answers 404 with `cache_miss`.
///
/// ```
/// use towpath_wire::CacheEntry;
///
/// let entry: CacheEntry = serde_json::from_str(r#"{"value": null, "ttl_ms": 59000}"#)?;
/// assert!(entry.value.is_null(), "null is a value");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// The value.
    pub value: Value,
    /// What is left of its time to live, in milliseconds.
    pub ttl_ms: u64,
}
