//! The cache: values under a service's own prefix, and answers of queries.
//!
//! # Tags
//!
//! Each tag has a version in Redis: a random number that is made when somebody first asks for it. A value remembers the
//! versions of its tags, and a look-up finds it only while they are still those. To invalidate a tag is to delete its
//! version: one command however many values carry it, and a version that Redis lost for another reason only costs a
//! miss. Versions are read before the query that fills the cache runs; a commit in between changes them, so what the
//! query saw before it is stored under versions that are no more.
//!
//! # Without Redis
//!
//! A query that may use the cache runs as if it were empty. Tags that couldn't be invalidated are remembered and
//! invalidated when Redis is back; until then this relay finds nothing that carries tags.

mod invalidation;

use std::sync::LazyLock;

use ::redis::Script;
use metrics::counter;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use towpath_wire::{CachePut, Code, Consistency, QueryCache, QueryRequest, QueryResponse};

use crate::error::{Failure, Result};
use crate::metrics::CACHE_LOOKUPS;
use crate::state::Service;

pub use invalidation::{Invalidations, invalidate_tags};

static FIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cache/find.lua")));
static STORE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cache/store.lua")));

/// What `GET /v1/cache/{key}` answers: a [`towpath_wire::CacheEntry`] whose value is passed on as it was stored.
#[derive(Debug, Serialize)]
pub struct Found {
    value: Box<RawValue>,
    ttl_ms: u64,
}

/// Gets a value.
///
/// # Errors
/// `cache_miss` where there is none, `unavailable` while Redis is away.
pub async fn get(service: &Service, key: &str) -> Result<Found> {
    let (text, ttl_ms, _) = find(service, &value_key(service, key), &[]).await?;
    let text = text.filter(|_| service.invalidations.is_empty());
    count(service, "key", if text.is_some() { "hit" } else { "miss" });
    let text = text.ok_or_else(|| Failure::new(Code::CacheMiss, "Nothing is cached under this key"))?;
    let value = RawValue::from_string(text).map_err(Failure::internal)?;
    Ok(Found { value, ttl_ms })
}

/// Keeps a value.
///
/// # Errors
/// `limit_exceeded` for one that is too large, `unavailable` while Redis is away.
pub async fn put(service: &Service, key: &str, entry: &CachePut) -> Result<()> {
    check(service, entry.ttl_ms, &entry.tags)?;
    let value = serde_json::to_string(&entry.value).map_err(Failure::internal)?;
    check_size(service, value.len())?;
    let stored = async {
        let versions = if entry.tags.is_empty() { vec![] } else { versions(service, &entry.tags).await? };
        store(service, &value_key(service, key), &value, entry.ttl_ms, &entry.tags, &versions).await
    };
    stored.await
}

/// Removes a value. Removing what isn't there is no error.
///
/// # Errors
/// `unavailable` while Redis is away.
pub async fn delete(service: &Service, key: &str) -> Result<()> {
    Ok(service.redis.command::<()>(::redis::cmd("UNLINK").arg(value_key(service, key))).await?)
}

/// What the cache knows of a query's answer.
#[derive(Debug)]
pub enum Lookup {
    /// The answer, marked as cached.
    Hit(QueryResponse),
    /// It isn't there: run the query, then [`Fill::store`] its answer.
    Miss(Fill),
    /// There is no cache now: run the query.
    Off,
}

/// A place for the answer of a query, under the versions of its tags from before it ran.
#[derive(Debug)]
pub struct Fill {
    key: String,
    ttl_ms: u64,
    tags: Vec<String>,
    versions: Vec<String>,
}

/// Looks a query up. Call it before the query runs. A cache that is away is no error.
///
/// # Errors
/// `malformed_request` or `limit_exceeded` where the request asks for what the cache can't do.
pub async fn find_query(service: &Service, request: &QueryRequest, cache: &QueryCache) -> Result<Lookup> {
    check(service, cache.ttl_ms, &cache.tags)?;
    let key = query_key(service, request);
    let Ok((text, _, versions)) = find(service, &key, &cache.tags).await else {
        count(service, "query", "off");
        return Ok(Lookup::Off);
    };
    if !service.invalidations.is_empty() {
        count(service, "query", "off");
        return Ok(Lookup::Off);
    }
    // What an earlier version of the relay stored and this one can't read is a miss.
    if let Some(found) = text.and_then(|text| serde_json::from_str::<QueryResponse>(&text).ok()) {
        count(service, "query", "hit");
        return Ok(Lookup::Hit(QueryResponse { cached: true, ..found }));
    }
    count(service, "query", "miss");
    Ok(Lookup::Miss(Fill { key, ttl_ms: cache.ttl_ms, tags: cache.tags.clone(), versions }))
}

impl Fill {
    /// Keeps the answer, where it isn't too large. A cache that is away is no error.
    pub async fn store(self, service: &Service, response: &QueryResponse) {
        let Ok(text) = serde_json::to_string(response) else { return };
        if text.len() <= service.limits().cache_value_bytes {
            let stored = store(service, &self.key, &text, self.ttl_ms, &self.tags, &self.versions).await;
            if let Err(failure) = stored {
                tracing::debug!(%failure, "an answer wasn't cached");
            }
        }
    }
}

type Entry = (Option<String>, u64, Vec<String>);

/// The value under a key, what is left of its time, and the versions of `tags`.
async fn find(service: &Service, key: &str, tags: &[String]) -> Result<Entry> {
    let mut script = FIND.key(key);
    script.arg(tag_prefix(service)).arg(service.limits().cache_ttl_ms);
    for tag in tags {
        script.arg(tag).arg(fresh_version());
    }
    Ok(service.redis.call(async |connection| script.invoke_async(connection).await).await?)
}

async fn versions(service: &Service, tags: &[String]) -> Result<Vec<String>> {
    // A key that no value has: only the versions are wanted.
    let (_, _, versions) = find(service, &format!("{}:{}:none", service.redis.prefix(), service.name), tags).await?;
    Ok(versions)
}

async fn store(
    service: &Service,
    key: &str,
    value: &str,
    ttl_ms: u64,
    tags: &[String],
    versions: &[String],
) -> Result<()> {
    let mut script = STORE.key(key);
    script.arg(value).arg(ttl_ms);
    for (tag, version) in tags.iter().zip(versions) {
        script.arg(tag).arg(version);
    }
    Ok(service.redis.call(async |connection| script.invoke_async(connection).await).await?)
}

fn check(service: &Service, ttl_ms: u64, tags: &[String]) -> Result<()> {
    let limits = service.limits();
    if ttl_ms == 0 {
        return Err(Failure::malformed("ttl_ms must be at least 1"));
    }
    if ttl_ms > limits.cache_ttl_ms {
        return Err(Failure::limit("cache_ttl_ms", limits.cache_ttl_ms, "ttl_ms is too long"));
    }
    if tags.len() > limits.cache_tags {
        return Err(Failure::limit("cache_tags", limits.cache_tags, "Too many tags"));
    }
    tags.iter().try_for_each(|tag| check_key(service, "A tag", tag))
}

/// Refuses a key or tag that is empty or too long.
///
/// # Errors
/// `malformed_request` or `limit_exceeded`.
pub fn check_key(service: &Service, what: &str, key: &str) -> Result<()> {
    let most = service.limits().key_bytes;
    if key.is_empty() {
        return Err(Failure::malformed(format!("{what} is empty")));
    }
    if key.len() > most {
        return Err(Failure::limit("key_bytes", most, format_args!("{what} has {} bytes", key.len())));
    }
    Ok(())
}

fn check_size(service: &Service, bytes: usize) -> Result<()> {
    let most = service.limits().cache_value_bytes;
    if bytes > most {
        return Err(Failure::limit("cache_value_bytes", most, format_args!("The value has {bytes} bytes as JSON")));
    }
    Ok(())
}

fn value_key(service: &Service, key: &str) -> String {
    format!("{}:{}:c:{key}", service.redis.prefix(), service.name)
}

fn query_key(service: &Service, request: &QueryRequest) -> String {
    let mut hash = Sha256::new();
    // The replica's answers may be older than the primary's: neither stands in for the other.
    hash.update([u8::from(request.consistency == Consistency::Replica)]);
    hash.update(request.sql.len().to_be_bytes());
    hash.update(&request.sql);
    for param in &request.params {
        let text = param.to_string();
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (high, low) = digest.split_at(16);
    let number = |half: &[u8]| half.iter().fold(0_u128, |n, b| n << 8 | u128::from(*b));
    format!("{}:{}:q:{:032x}{:032x}", service.redis.prefix(), service.name, number(high), number(low))
}

fn tag_prefix(service: &Service) -> String {
    format!("{}:{}:t:", service.redis.prefix(), service.name)
}

fn fresh_version() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn count(service: &Service, kind: &'static str, result: &'static str) {
    counter!(CACHE_LOOKUPS, "service" => service.name.clone(), "kind" => kind, "result" => result).increment(1);
}
