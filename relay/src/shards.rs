//! The shards of a service's outbox: numbers 0 to 15, one for each key.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many shards there are: the number that `towpath.outbox_append` spreads keys over.
pub(crate) const SHARDS: u32 = 16;

/// A set of the shards of an outbox: shards 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    /// Adds a shard.
    pub(crate) fn insert(&mut self, shard: u32) {
        debug_assert!(shard < 64, "shards are numbered 0 to 63");
        self.0 |= 1 << (shard % 64);
    }

    /// Whether a shard is in it.
    #[must_use]
    pub(crate) fn contains(self, shard: u32) -> bool {
        shard < 64 && self.0 & (1 << shard) != 0
    }

    /// Whether it holds none.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shards of both.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its shards, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |shard| self.contains(*shard))
    }
}

impl FromIterator<u32> for ShardSet {
    fn from_iter<I: IntoIterator<Item = u32>>(shards: I) -> Self {
        let mut set = Self::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

/// Tells a service's outbox publisher which shards have something new. A wake-up is remembered until it is taken, and
/// wake-ups that come together are taken together. One task may wait at a time.
#[derive(Debug, Default)]
pub(crate) struct OutboxWake {
    shards: AtomicU64,
    notify: Notify,
}

impl OutboxWake {
    /// Something was committed into these shards.
    pub(crate) fn notify(&self, shards: ShardSet) {
        if !shards.is_empty() {
            self.shards.fetch_or(shards.0, Ordering::AcqRel);
            self.notify.notify_one();
        }
    }

    /// Takes all shards that were named since the last wake-up.
    pub(crate) fn take(&self) -> ShardSet {
        ShardSet(self.shards.swap(0, Ordering::AcqRel))
    }

    /// Waits for the next wake-up and takes all shards that were named since the last. Safe to cancel.
    pub(crate) async fn notified(&self) -> ShardSet {
        loop {
            let shards = self.take();
            if !shards.is_empty() {
                return shards;
            }
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wake_ups_are_remembered_and_taken_together() {
        let wake = OutboxWake::default();
        wake.notify([3, 5].into_iter().collect());
        wake.notify([5, 15].into_iter().collect());
        assert_eq!(wake.notified().await.iter().collect::<Vec<_>>(), [3, 5, 15]);
        let waiting = wake.notified();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        wake.notify([0, 1].into_iter().collect());
        assert_eq!(waiting.await.iter().collect::<Vec<_>>(), [0, 1]);
    }
}
