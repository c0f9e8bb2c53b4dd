//! The watchdog's look at a publisher: does the oldest event of each shard that it should publish leave, and is its lease renewed?
//!
//! The database says what waits, and not the publisher. Shards of another living publisher are that one's; a shard that
//! nobody living holds is everybody's. Events that Kafka refuses are no longer in the outbox: their keys are held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::producer::Setup;
use super::store::{self, Head};
use crate::config::KafkaConfig;
use crate::kafka::Outside;
use crate::postgres::RelayRole;
use crate::watchdog::{Look, Seen, Since};

pub(super) struct Eye {
    role: RelayRole,
    outside: Outside,
    /// What it writes to: its topics, and its journal.
    topics: Vec<String>,
    /// The publisher of now.
    id: Arc<str>,
    /// How often Kafka has refused a batch of it, and how often it had at the last look.
    answers: Arc<AtomicU64>,
    answered: u64,
    /// A publisher that was told to stop takes its time.
    stop: CancellationToken,
    /// The oldest event of each shard, and when it was first seen as the oldest.
    heads: Heads,
    /// Since when its lease has run out, by a clock of our own.
    expired: Since,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        if self.stop.is_cancelled() {
            return Seen::Waits;
        }
        // While it finds out which events Kafka refuses, the oldest may stay for long.
        let answered = self.answers.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.answered, answered) != answered {
            self.begin_anew();
            return Seen::Moves;
        }
        let due = match store::due(&self.role, &self.id).await {
            Ok(due) => due,
            // The database is away: nothing can be published, and the publisher says so.
            Err(_) => return self.waits(),
        };
        let head = self.heads.see(due.heads, Instant::now());
        let head = head.map(|(shard, seq, since)| {
            (since, format!("event {seq} of shard {shard} has waited for {} s", since.elapsed().as_secs()))
        });
        let expired = self.expired.note(due.has_expired).map(|since| {
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
        kafka: &KafkaConfig,
        setup: &Setup,
        topics: &[String],
        stop: CancellationToken,
    ) -> Self {
        let outside = Outside::new(kafka, &setup.service);
        let topics = topics.iter().cloned().chain([setup.journal.to_string()]).collect();
        Self {
            role,
            outside,
            topics,
            id: "".into(),
            answers: Arc::default(),
            answered: 0,
            stop,
            heads: Heads::default(),
            expired: Since::default(),
        }
    }

    /// Looks at this publisher from now on. What waited under the one before still waits.
    pub(super) fn follow(&mut self, id: Arc<str>, answers: Arc<AtomicU64>) {
        (self.id, self.answers, self.answered, self.expired) = (id, answers, 0, Since::default());
    }

    fn waits(&mut self) -> Seen {
        self.begin_anew();
        Seen::Waits
    }

    fn begin_anew(&mut self) {
        (self.heads, self.expired) = (Heads::default(), Since::default());
    }
}

/// The oldest events, as they were seen. Pure.
#[derive(Debug, Default)]
struct Heads(BTreeMap<i16, (i64, Instant)>);

impl Heads {
    /// Takes what a look saw. Answers the shard whose oldest event has been the oldest for the longest time, with its number:
    /// only such as were there at an earlier look already.
    fn see(&mut self, heads: Vec<Head>, now: Instant) -> Option<(i16, i64, Instant)> {
        let before = std::mem::take(&mut self.0);
        for head in heads {
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
        assert_eq!(heads.see(vec![head(1, 10), head(2, 11)], at(0)), None, "they have only come");
        assert_eq!(heads.see(vec![head(1, 12), head(2, 11)], at(1)), Some((2, 11, at(0))));
        assert_eq!(heads.see(vec![head(1, 12), head(2, 13)], at(2)), Some((1, 12, at(1))));
        assert_eq!(heads.see(vec![], at(3)), None);
        assert_eq!(heads.see(vec![head(1, 12)], at(4)), None, "it counts from then on");
    }
}
