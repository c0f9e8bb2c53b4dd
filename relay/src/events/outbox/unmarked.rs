//! Events that are in Kafka, and that the database doesn't know of yet. Pure rules.
//!
//! A mark is a commit of the database. One for each transaction of Kafka would cost as much as the work that the events tell
//! of; so marks wait for each other, for a moment. Meanwhile nobody publishes the events again: this publisher remembers them,
//! and each of its transactions writes all of them into the journal, where whoever retires it finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::store::Waiting;

/// How long a mark waits for others.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// What isn't marked: numbers, each with its shard.
#[derive(Debug, Default)]
pub(super) struct Unmarked {
    events: BTreeMap<i64, i16>,
    bytes: usize,
    since: Option<Instant>,
}

impl Unmarked {
    /// A batch is in Kafka, as of `now`.
    pub(super) fn add(&mut self, batch: &[Waiting], now: Instant) {
        self.events.extend(batch.iter().map(|event| (event.seq, event.shard)));
        self.bytes += batch.iter().map(|event| event.data.len()).sum::<usize>();
        self.since.get_or_insert(now);
    }

    /// All of it is marked.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Of their data.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The numbers.
    pub(super) fn seqs(&self) -> BTreeSet<i64> {
        self.events.keys().copied().collect()
    }

    /// When it has to be marked, if there is any.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + MAX_WAIT)
    }

    /// The shards and numbers, one for one.
    pub(super) fn places(&self) -> (Vec<i16>, Vec<i64>) {
        self.events.iter().map(|(seq, shard)| (*shard, *seq)).unzip()
    }

    /// What the journal has to say with this batch: ascending numbers.
    pub(super) fn with(&self, batch: &[Waiting]) -> Vec<i64> {
        let mut all: Vec<i64> = self.events.keys().copied().chain(batch.iter().map(|event| event.seq)).collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(from: i64, count: usize) -> Vec<Waiting> {
        (from..).take(count).map(|seq| Waiting::for_tests(seq, "t", "k")).collect()
    }

    #[test]
    fn a_mark_is_due_a_moment_after_the_first_of_its_events() {
        let (mut unmarked, now) = (Unmarked::default(), Instant::now());
        assert_eq!((unmarked.due_at(), unmarked.is_empty()), (None, true));
        unmarked.add(&batch(1, 2), now);
        unmarked.add(&batch(3, 1), now + Duration::from_millis(90));
        assert_eq!(unmarked.due_at(), Some(now + MAX_WAIT));
        assert_eq!(unmarked.places(), (vec![0, 0, 0], vec![1, 2, 3]));
        unmarked.clear();
        assert_eq!((unmarked.due_at(), unmarked.len()), (None, 0));
    }

    proptest! {
        /// A publisher publishes batches, some of which Kafka refuses, and marks now and then. Wherever it dies, what is in Kafka
        /// is marked, or in its last committed entry of the journal.
        #[test]
        fn the_last_entry_has_all_that_is_not_marked(steps in proptest::collection::vec((0..3u8, 1..5usize), 0..50)) {
            let (mut unmarked, mut next) = (Unmarked::default(), 1);
            let (mut in_kafka, mut marked) = (BTreeSet::new(), BTreeSet::new());
            let mut entry: BTreeSet<i64> = BTreeSet::new();
            for (step, count) in steps {
                match step {
                    0 => {
                        let batch = batch(next, count);
                        next += count as i64;
                        let numbers = unmarked.with(&batch);
                        prop_assert!(numbers.is_sorted());
                        entry = numbers.into_iter().collect();
                        in_kafka.extend(batch.iter().map(|event| event.seq));
                        unmarked.add(&batch, Instant::now());
                    }
                    // Refused: Kafka has neither the batch nor its entry.
                    1 => drop(unmarked.with(&batch(next, count))),
                    _ => {
                        marked.extend(unmarked.places().1);
                        unmarked.clear();
                    }
                }
                let known: BTreeSet<i64> = marked.union(&entry).copied().collect();
                prop_assert!(in_kafka.is_subset(&known));
                prop_assert!(in_kafka.iter().all(|seq| marked.contains(seq) != unmarked.seqs().contains(seq)));
            }
        }
    }
}
