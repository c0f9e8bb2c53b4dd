//! The cache: values under a service's own prefix, and answers of queries.
//!
//! # Tags
//!
//! Each tag has a version in Redis: a random number, made when the tag is first used. A value remembers the versions of its
//! tags, and a look-up finds it only while these are current. Invalidating a tag deletes its version: one command, however many
//! values carry the tag; a version that Redis lost for another reason only costs a miss. Versions are read before the query
//! that fills the cache runs. A commit in between changes them, so an answer that is older than the commit is stored under
//! versions that no longer exist. `announcement` is about a relay that dies between COMMIT and invalidation.
//!
//! # Without Redis
//!
//! A query that may use the cache runs as if the cache were empty. The relay remembers tags that it couldn't invalidate, and
//! invalidates them when Redis is back; until then it finds nothing that carries tags. A Redis that takes another's place
//! may lack the last commands of that one: what was invalidated shortly before is invalidated there again.

mod announcement;
mod invalidation;

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use metrics::counter;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use towpath_wire::{CachePutOf, Code, Consistency, QueryCache, QueryRequestOf, QueryResponse};

use super::connection::{Redis, Request};
use crate::config::Limits;
use crate::failure::{Failure, Result};
use crate::keys::check_key;
use crate::telemetry::metrics::{CACHE_INVALIDATIONS_LATE, CACHE_LOOKUPS};
use invalidation::Invalidations;

pub use announcement::Announcement;

static FIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cache/find.lua")));
static STORE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("cache/store.lua")));

/// What `GET /v1/cache/{key}` answers: a [`towpath_wire::CacheEntry`] whose value is passed on as it was stored.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    value: Box<RawValue>,
    ttl_ms: u64,
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

impl Fill {
    /// Keeps the answer, where it isn't too large. A cache that is away is no error.
    pub async fn store(self, cache: &Cache, response: &QueryResponse) {
        let Ok(text) = serde_json::to_string(response) else { return };
        if text.len() <= cache.limits.cache_value_bytes {
            let stored = cache.store(&self.key, &text, self.ttl_ms, &self.tags, &self.versions).await;
            if let Err(failure) = stored {
                tracing::debug!(%failure, "an answer wasn't cached");
            }
        }
    }
}

/// The value, what is left of its time in milliseconds, and the versions of tags.
type Entry = (Option<String>, u64, Vec<String>);

/// One service's part of the cache. Cheap to clone, but for its limits.
#[derive(Clone, Debug)]
pub struct Cache {
    redis: Redis,
    service: Arc<str>,
    limits: Limits,
    /// Tags that Redis has yet to forget.
    late: Invalidations,
}

impl Cache {
    pub(crate) fn new(redis: &Redis, service: &Arc<str>, limits: &Limits) -> Self {
        let (redis, service) = (redis.clone(), Arc::clone(service));
        Self { redis, service, limits: limits.clone(), late: Invalidations::default() }
    }

    /// Gets a value.
    ///
    /// # Errors
    /// `cache_miss` where there is none, `unavailable` while Redis is away.
    pub(crate) async fn get(&self, key: &str) -> Result<Found> {
        let (text, ttl_ms, _) = self.find(&self.value_key(key), &[]).await?;
        let text = text.filter(|_| self.late.is_empty());
        self.count("key", if text.is_some() { "hit" } else { "miss" });
        let text = text.ok_or_else(|| Failure::new(Code::CacheMiss, "Nothing is cached under this key"))?;
        let value = RawValue::from_string(text).map_err(Failure::internal)?;
        Ok(Found { value, ttl_ms })
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// `limit_exceeded` for one that is too large, `unavailable` while Redis is away.
    pub(crate) async fn put(&self, key: &str, entry: &CachePutOf<Box<RawValue>>) -> Result<()> {
        self.check(entry.ttl_ms, &entry.tags)?;
        let value = entry.value.get();
        self.check_size(value.len())?;
        let versions = if entry.tags.is_empty() { vec![] } else { self.versions(&entry.tags).await? };
        self.store(&self.value_key(key), value, entry.ttl_ms, &entry.tags, &versions).await
    }

    /// Removes a value. Removing what isn't there is no error.
    ///
    /// # Errors
    /// `unavailable` while Redis is away.
    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.redis.call(Request::Command(::redis::cmd("UNLINK").arg(self.value_key(key)))).await?)
    }

    /// Looks a query up. Call it before the query runs. A cache that is away is no error.
    ///
    /// # Errors
    /// `malformed_request` or `limit_exceeded` where the request asks for what the cache can't do.
    pub async fn find_query<V: Serialize>(&self, request: &QueryRequestOf<V>, cache: &QueryCache) -> Result<Lookup> {
        self.check(cache.ttl_ms, &cache.tags)?;
        let key = self.query_key(request)?;
        let Ok((text, _, versions)) = self.find(&key, &cache.tags).await else {
            self.count("query", "off");
            return Ok(Lookup::Off);
        };
        let announced = versions.iter().any(String::is_empty);
        if announced || !self.late.is_empty() {
            self.count("query", "off");
            return Ok(Lookup::Off);
        }
        // What an earlier version of the relay stored and this one can't read is a miss.
        if let Some(found) = text.and_then(|text| serde_json::from_str::<QueryResponse>(&text).ok()) {
            self.count("query", "hit");
            return Ok(Lookup::Hit(QueryResponse { cached: true, ..found }));
        }
        self.count("query", "miss");
        Ok(Lookup::Miss(Fill { key, ttl_ms: cache.ttl_ms, tags: cache.tags.clone(), versions }))
    }

    /// Ends the life of every value that carries one of these tags. Call it after the commit and before its answer, so
    /// that a caller who has the answer sees what it changed. Can't fail: what Redis can't do now is done when it is
    /// back.
    pub async fn invalidate(&self, tags: &[String]) {
        self.invalidate_after(tags, "").await;
    }

    /// The same, of a unit of work that has announced it under this name.
    async fn invalidate_after(&self, tags: &[String], name: &str) {
        if tags.is_empty() {
            return;
        }
        let prefix = self.tag_prefix();
        let keys: Vec<String> = tags.iter().map(|tag| format!("{prefix}{tag}")).collect();
        let mut commands = ::redis::pipe();
        // In this order: a version that is made after the announcement is gone belongs to what was read after the commit.
        commands.cmd("UNLINK").arg(&keys).ignore();
        if !name.is_empty() {
            self.forget(&mut commands, tags, name);
        }
        match self.redis.call::<()>(Request::Commands(&commands)).await {
            Ok(()) => self.late.done(keys),
            Err(cause) => {
                tracing::warn!(
                    service = &*self.service,
                    %cause,
                    count = keys.len(),
                    "invalidating cache tags failed; the relay retries and serves no tagged value until it is done"
                );
                counter!(CACHE_INVALIDATIONS_LATE, "service" => Arc::clone(&self.service)).increment(keys.len() as u64);
                self.late.add(&prefix, keys);
            }
        }
    }

    /// Takes an announcement back. It ends by itself where that fails.
    async fn forget_announcement(&self, tags: &[String], name: &str) {
        if tags.is_empty() {
            return;
        }
        let mut commands = ::redis::pipe();
        self.forget(&mut commands, tags, name);
        if let Err(cause) = self.redis.call::<()>(Request::Commands(&commands)).await {
            tracing::debug!(%cause, "an announcement wasn't taken back");
        }
    }

    fn forget(&self, commands: &mut ::redis::Pipeline, tags: &[String], name: &str) {
        let prefix = self.announcement_prefix();
        for tag in tags {
            commands.cmd("ZREM").arg(format!("{prefix}{tag}")).arg(name).ignore();
        }
    }

    /// How often Redis has invalidated some of what is late, while some is.
    pub(super) fn invalidated_while_some_is_late(&self) -> Option<u64> {
        self.late.done_while_some_is_late()
    }

    /// Invalidates the tags that are late, until told to stop.
    pub(crate) async fn catch_up(self, stop: CancellationToken) {
        self.late.catch_up(self.redis, stop).await;
    }

    /// The value under a key, what is left of its time, and the versions of `tags`.
    async fn find(&self, key: &str, tags: &[String]) -> Result<Entry> {
        let mut script = FIND.key(key);
        script.arg(self.tag_prefix()).arg(self.announcement_prefix()).arg(self.limits.cache_ttl_ms);
        for tag in tags {
            script.arg(tag).arg(fresh_version());
        }
        Ok(self.redis.call(Request::Script(&script)).await?)
    }

    async fn versions(&self, tags: &[String]) -> Result<Vec<String>> {
        // A key that no value has: only the versions are wanted.
        let (_, _, versions) = self.find(&self.scoped("none"), tags).await?;
        Ok(versions)
    }

    async fn store(&self, key: &str, value: &str, ttl_ms: u64, tags: &[String], versions: &[String]) -> Result<()> {
        let mut script = STORE.key(key);
        script.arg(value).arg(ttl_ms);
        for (tag, version) in tags.iter().zip(versions) {
            script.arg(tag).arg(version);
        }
        Ok(self.redis.call(Request::Script(&script)).await?)
    }

    fn check(&self, ttl_ms: u64, tags: &[String]) -> Result<()> {
        let limits = &self.limits;
        if ttl_ms == 0 {
            return Err(Failure::malformed("ttl_ms must be at least 1"));
        }
        if ttl_ms > limits.cache_ttl_ms {
            return Err(Failure::limit("cache_ttl_ms", limits.cache_ttl_ms, "ttl_ms is too long"));
        }
        if tags.len() > limits.cache_tags {
            return Err(Failure::limit("cache_tags", limits.cache_tags, "Too many tags"));
        }
        tags.iter().try_for_each(|tag| check_key(limits, "A tag", tag))
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        let max = self.limits.cache_value_bytes;
        if bytes > max {
            return Err(Failure::limit("cache_value_bytes", max, format_args!("The value has {bytes} bytes as JSON")));
        }
        Ok(())
    }

    fn value_key(&self, key: &str) -> String {
        self.scoped(&format!("c:{key}"))
    }

    fn query_key<V: Serialize>(&self, request: &QueryRequestOf<V>) -> Result<String> {
        let mut hash = Sha256::new();
        // The replica's answers may be older than the primary's: neither stands in for the other.
        hash.update([u8::from(request.consistency == Consistency::Replica)]);
        hash.update(request.sql.len().to_be_bytes());
        hash.update(&request.sql);
        for param in &request.params {
            let text = serde_json::to_string(param).map_err(Failure::internal)?;
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (high, low) = digest.split_at(16);
        let number = |half: &[u8]| half.iter().fold(0_u128, |n, b| n << 8 | u128::from(*b));
        Ok(self.scoped(&format!("q:{:032x}{:032x}", number(high), number(low))))
    }

    fn tag_prefix(&self) -> String {
        self.scoped("t:")
    }

    fn announcement_prefix(&self) -> String {
        self.scoped("p:")
    }

    /// A key within the prefix of this installation and this service.
    fn scoped(&self, key: &str) -> String {
        format!("{}:{}:{key}", self.redis.prefix(), self.service)
    }

    fn count(&self, kind: &'static str, result: &'static str) {
        let service = Arc::clone(&self.service);
        counter!(CACHE_LOOKUPS, "service" => service, "kind" => kind, "result" => result).increment(1);
    }
}

fn fresh_version() -> String {
    format!("{:016x}", rand::random::<u64>())
}
