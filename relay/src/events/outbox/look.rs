//! The watchdog's look at a publisher: does the oldest event of each shard that it should publish leave?
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
    journal: Arc<str>,
    /// The publisher of now.
    id: Arc<str>,
    on_hold: Arc<OnHold>,
    /// A publisher that was told to stop takes its time.
    stop: CancellationToken,
    /// The oldest event of each shard, and when it was first seen as the oldest.
    heads: Heads,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        if self.stop.is_cancelled() {
            return Seen::Waits;
        }
        let heads = match store::heads(&self.role, &self.id).await {
            Ok(heads) => heads,
            // The database is away: nothing can be published, and the publisher says so.
            Err(_) => return self.waits(),
        };
        let on_hold = &self.on_hold;
        let Some((shard, seq, since)) = self.heads.see(heads, |shard| on_hold.has(shard), Instant::now()) else {
            return Seen::Moves;
        };
        if self.outside.answers(&self.journal).await.is_err() {
            return self.waits();
        }
        let cause = format!("event {seq} of shard {shard} has waited for {} s", since.elapsed().as_secs());
        Seen::Stands { since, cause }
    }
}

impl Eye {
    pub(super) fn new(role: RelayRole, kafka: Arc<KafkaConfig>, setup: &Setup, stop: CancellationToken) -> Self {
        let (outside, journal) = (Outside::new(kafka, &setup.service), Arc::clone(&setup.journal));
        Self { role, outside, journal, id: "".into(), on_hold: Arc::default(), stop, heads: Heads::default() }
    }

    /// Looks at this publisher from now on. What waited under the one before still waits.
    pub(super) fn follow(&mut self, id: Arc<str>, on_hold: Arc<OnHold>) {
        (self.id, self.on_hold) = (id, on_hold);
    }

    fn waits(&mut self) -> Seen {
        self.heads = Heads::default();
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
