//! The watchdog's look at a publisher: does the oldest event of each shard that it should publish leave, and is its lease renewed?
//!
//! The database says what waits, and not the publisher. Shards of another living publisher are that one's; a shard that
//! nobody living holds is everybody's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::producer::Setup;
use super::store::{self, Head};
use crate::config::KafkaConfig;
use crate::kafka::Outside;
use crate::postgres::RelayRole;
use crate::watchdog::{Look, Seen};

/// Shards whose next event Kafka refuses, and until when they rest. The publisher knows it, and says so.
#[derive(Debug, Default)]
pub(super) struct OnHold(Mutex<BTreeMap<i16, tokio::time::Instant>>);

impl OnHold {
    /// A shard rests until then.
    pub(super) fn rest(&self, shard: i16, until: tokio::time::Instant) {
        self.shards().insert(shard, until);
    }

    /// Those that have rested long enough are on hold no more.
    pub(super) fn release(&self, now: tokio::time::Instant) {
        self.shards().retain(|_, until| now < *until);
    }

    /// Whether a shard is on hold.
    pub(super) fn has(&self, shard: i16) -> bool {
        self.shards().contains_key(&shard)
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<i16, tokio::time::Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Eye {
    role: RelayRole,
    outside: Outside,
    /// What it writes to: its topics, and its journal.
    topics: Vec<String>,
    /// The publisher of now.
    id: Arc<str>,
    on_hold: Arc<OnHold>,
    /// A publisher that was told to stop takes its time.
    stop: CancellationToken,
    /// The oldest event of each shard, and when it was first seen as the oldest.
    heads: Heads,
    /// Since when its lease has run out, by a clock of our own.
    expired_since: Option<Instant>,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        if self.stop.is_cancelled() {
            return Seen::Waits;
        }
        let due = match store::due(&self.role, &self.id).await {
            Ok(due) => due,
            // The database is away: nothing can be published, and the publisher says so.
            Err(_) => return self.waits(),
        };
        let on_hold = &self.on_hold;
        let head = self.heads.see(due.heads, |shard| on_hold.has(shard), Instant::now());
        self.expired_since = due.has_expired.then(|| self.expired_since.unwrap_or_else(Instant::now));
        let head = head.map(|(shard, seq, since)| {
            (since, format!("event {seq} of shard {shard} has waited for {} s", since.elapsed().as_secs()))
        });
        let expired = self.expired_since.map(|since| {
            (since, format!("nobody has renewed its lease since it ran out {} s ago", since.elapsed().as_secs()))
        });
        let Some((since, cause)) = head.into_iter().chain(expired).min_by_key(|(since, _)| *since) else {
            return Seen::Moves;
        };
        if self.outside.answers(self.topics.clone()).await.is_err() {
            return self.waits();
        }
        Seen::Stands { since, cause }
    }
}

impl Eye {
    /// `topics`: those that the service publishes to.
    pub(super) fn new(
        role: RelayRole,
        kafka: Arc<KafkaConfig>,
        setup: &Setup,
        topics: &[String],
        stop: CancellationToken,
    ) -> Self {
        let outside = Outside::new(kafka, &setup.service);
        let topics = topics.iter().cloned().chain([setup.journal.to_string()]).collect();
        let (id, on_hold, heads) = ("".into(), Arc::default(), Heads::default());
        Self { role, outside, topics, id, on_hold, stop, heads, expired_since: None }
    }

    /// Looks at this publisher from now on. What waited under the one before still waits.
    pub(super) fn follow(&mut self, id: Arc<str>, on_hold: Arc<OnHold>) {
        (self.id, self.on_hold, self.expired_since) = (id, on_hold, None);
    }

    fn waits(&mut self) -> Seen {
        (self.heads, self.expired_since) = (Heads::default(), None);
        Seen::Waits
    }
}

/// The oldest events, as they were seen. Pure.
#[derive(Debug, Default)]
struct Heads(BTreeMap<i16, (i64, Instant)>);

impl Heads {
    /// Takes what a look saw. Answers the shard whose oldest event has been the oldest for the longest time, with its number:
    /// only such as were there at an earlier look already.
    fn see(&mut self, heads: Vec<Head>, on_hold: impl Fn(i16) -> bool, now: Instant) -> Option<(i16, i64, Instant)> {
        let before = std::mem::take(&mut self.0);
        for head in heads.into_iter().filter(|head| !on_hold(head.shard)) {
            let since = match before.get(&head.shard) {
                Some((seq, since)) if *seq == head.seq => *since,
                _ => now,
            };
            self.0.insert(head.shard, (head.seq, since));
        }
        let longest = self.0.iter().min_by_key(|(_, (_, since))| *since);
        longest.map(|(shard, (seq, since))| (*shard, *seq, *since)).filter(|(.., since)| *since < now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_that_stays_the_oldest_stands_still() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let head = |shard, seq| Head { shard, seq };
        let mut heads = Heads::default();
        let never = |_| false;
        assert_eq!(heads.see(vec![head(1, 10), head(2, 11)], never, at(0)), None, "they have only come");
        assert_eq!(heads.see(vec![head(1, 12), head(2, 11)], never, at(1)), Some((2, 11, at(0))));
        assert_eq!(heads.see(vec![head(1, 12), head(2, 13)], never, at(2)), Some((1, 12, at(1))));
        assert_eq!(
            heads.see(vec![head(1, 12)], |shard| shard == 1, at(3)),
            None,
            "Kafka refuses it, and that was said"
        );
        assert_eq!(heads.see(vec![head(1, 12)], never, at(4)), None, "it counts from then on");
        assert_eq!(heads.see(vec![], never, at(5)), None);
    }
}
