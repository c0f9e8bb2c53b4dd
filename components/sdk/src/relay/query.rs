//! One read.

use std::time::Duration;

use serde_json::Value;
use towpath_wire::{QueryCache, QueryRequest, Wait};

use super::unit::millis;

/// One read for the relay to run.
///
/// ```
/// use std::time::Duration;
/// use serde_json::json;
/// use towpath_sdk::Query;
///
/// let cached = Query::new("SELECT name FROM things WHERE id = $1", [json!(1)])
///     .cached(Duration::from_secs(60), ["thing:1".to_owned()]);
/// let waiting = Query::new("SELECT name FROM things WHERE id = $1 AND done", [json!(1)])
///     .wait(["thing:1".to_owned()], Duration::from_secs(5));
/// assert!(cached.into_request().cache.is_some() && waiting.into_request().wait.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Query(QueryRequest);

impl Query {
    /// Reads what was committed before.
    pub fn new(sql: &str, params: impl Into<Vec<Value>>) -> Self {
        Self(QueryRequest { sql: sql.into(), params: params.into(), ..QueryRequest::default() })
    }

    /// Through the cache, until the TTL ends or a unit of work invalidates one of the tags.
    pub fn cached(mut self, ttl: Duration, tags: impl IntoIterator<Item = String>) -> Self {
        self.0.cache = Some(QueryCache { ttl_ms: millis(ttl), tags: tags.into_iter().collect() });
        self
    }

    /// Waits until it returns a row: runs again whenever a unit of work notifies one of the keys. Returns no rows when the
    /// timeout ends.
    pub fn wait(mut self, keys: impl IntoIterator<Item = String>, timeout: Duration) -> Self {
        self.0.wait = Some(Wait { keys: keys.into_iter().collect(), timeout_ms: millis(timeout) });
        self
    }

    pub(crate) fn waits_for(&self) -> Duration {
        self.0.wait.as_ref().map_or(Duration::ZERO, |wait| Duration::from_millis(wait.timeout_ms))
    }

    /// What goes over the wire.
    #[must_use]
    pub fn into_request(self) -> QueryRequest {
        self.0
    }
}
