//! A unit of work tells the cache what it is about to commit, so that its death between COMMIT and invalidation leaves no
//! old value.
//!
//! 1. Beside the steps, before COMMIT: the versions of its tags are deleted, and each tag gets an announcement. While there is
//!    one, readers go to the database and keep nothing of what they read.
//! 2. After COMMIT, before its answer: the versions are deleted again, and the announcement with them.
//!
//! If the relay dies in between, the announcement ends by itself, later than the COMMIT can take effect: what is kept then
//! was read after it. The first step takes one command and no time of its own, since the answer to the steps takes as long.
//! A Redis that doesn't answer it holds no unit of work up: then the second step is what counts, as late as Redis is back.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::Script;

use super::{Cache, Request};

static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("announce.lua")));

/// What one unit of work is about to make old. Does nothing where it invalidates no tag.
#[derive(Debug)]
pub struct Announcement<'a> {
    cache: &'a Cache,
    tags: &'a [String],
    /// Its name among the announcements of a tag.
    name: String,
    lives: Duration,
    /// Whether it was sent.
    made: AtomicBool,
}

impl Cache {
    /// An announcement for a unit of work that invalidates these tags, and whose COMMIT takes effect within `lives`, if it
    /// does at all. Nothing is sent before [`made`](Announcement::made).
    #[must_use]
    pub fn announce<'a>(&'a self, tags: &'a [String], lives: Duration) -> Announcement<'a> {
        Announcement { cache: self, tags, name: super::fresh_version(), lives, made: AtomicBool::new(false) }
    }
}

impl Announcement<'_> {
    /// Makes it, once. Await it before COMMIT is sent. Can't fail: see the module.
    pub async fn made(&self) {
        if !self.made.swap(true, Ordering::Relaxed) {
            self.make().await;
        }
    }

    async fn make(&self) {
        if self.tags.is_empty() {
            return;
        }
        let cache = self.cache;
        let mut script = ANNOUNCE.prepare_invoke();
        script.arg(cache.tag_prefix()).arg(cache.announcement_prefix()).arg(&self.name);
        script.arg(u64::try_from(self.lives.as_millis()).unwrap_or(u64::MAX)).arg(self.tags);
        let made = cache.redis.call::<()>(Request::Script(&script)).await;
        if let Err(cause) = made {
            tracing::debug!(%cause, "a unit of work couldn't announce what it invalidates");
        }
    }

    /// It has committed, now or earlier: ends the life of every value that carries one of the tags. Await it before the
    /// unit's answer, so that a caller who has the answer sees what it changed. Can't fail: what Redis can't do now is
    /// done when it is back.
    pub async fn committed(&self) {
        self.cache.invalidate_after(self.tags, &self.name).await;
    }

    /// Nobody knows whether it has committed, or will: no value that carries a tag is kept until that must be decided.
    pub async fn in_doubt(&self) {
        self.cache.invalidate(self.tags).await;
        self.make().await;
    }

    /// It hasn't committed and won't: values are kept again.
    pub async fn withdrawn(&self) {
        if self.made.load(Ordering::Relaxed) {
            self.cache.forget_announcement(self.tags, &self.name).await;
        }
    }
}
