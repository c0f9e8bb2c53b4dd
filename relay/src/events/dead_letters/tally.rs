//! Counts the open letters of a topic without holding them. Pure rules.
//!
//! Letters that follow each other take one entry, however many they are. An event that is written down twice, since a relay
//! crashed between its letter and its commit, comes back soon: the tally recognises it among the last [`MAX_RECENT`] letters.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::book::{Entry, entry};
use crate::kafka::Record;

/// Letters among which an event is recognised that is written down twice.
const MAX_RECENT: usize = 10_000;

/// How many letters of one topic are open.
#[derive(Debug, Default)]
pub(super) struct Tally {
    open: Ranges,
    /// The hash of each recent letter's event, by the offset of the letter, and the other way round.
    recent: BTreeMap<i64, u64>,
    known: HashMap<u64, i64>,
}

impl Tally {
    /// Reads the next record of the topic.
    pub(super) fn read(&mut self, record: &Record) {
        match entry(record) {
            Entry::Settles(offsets) => offsets.into_iter().for_each(|offset| self.close(offset)),
            Entry::Letter(identity) => {
                let mut hasher = DefaultHasher::new();
                identity.hash(&mut hasher);
                self.open(record.offset, hasher.finish());
            }
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> u64 {
        self.open.len()
    }

    fn open(&mut self, offset: i64, event: u64) {
        if self.known.contains_key(&event) {
            return;
        }
        self.open.insert(offset);
        self.known.insert(event, offset);
        self.recent.insert(offset, event);
        if self.recent.len() > MAX_RECENT
            && let Some((_, oldest)) = self.recent.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    fn close(&mut self, offset: i64) {
        self.open.remove(offset);
        if let Some(event) = self.recent.remove(&offset) {
            self.known.remove(&event);
        }
    }
}

/// A set of numbers, kept as the runs that it consists of.
#[derive(Debug, Default)]
struct Ranges {
    /// First and last number of each run.
    runs: BTreeMap<i64, i64>,
    len: u64,
}

impl Ranges {
    fn len(&self) -> u64 {
        self.len
    }

    /// The run that holds a number.
    fn run(&self, number: i64) -> Option<(i64, i64)> {
        let (&first, &last) = self.runs.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }

    fn insert(&mut self, number: i64) {
        if self.run(number).is_some() {
            return;
        }
        self.len += 1;
        let first = match number.checked_sub(1).and_then(|before| self.run(before)) {
            Some((first, _)) => first,
            None => number,
        };
        let last = number.checked_add(1).and_then(|after| self.runs.remove(&after)).unwrap_or(number);
        self.runs.insert(first, last);
    }

    fn remove(&mut self, number: i64) {
        let Some((first, last)) = self.run(number) else { return };
        self.len -= 1;
        self.runs.remove(&first);
        if first < number {
            self.runs.insert(first, number - 1);
        }
        if number < last {
            self.runs.insert(number + 1, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::book::tests::{letter, settles};
    use super::*;

    #[test]
    fn a_million_open_letters_take_one_entry() {
        let mut tally = Tally::default();
        for offset in 0..1_000_000 {
            tally.read(&letter(offset, offset));
        }
        assert_eq!((tally.len(), tally.open.runs.len()), (1_000_000, 1));
        assert_eq!((tally.recent.len(), tally.known.len()), (MAX_RECENT, MAX_RECENT));
        tally.read(&settles(1_000_000, "0-499999,700000"));
        assert_eq!((tally.len(), tally.open.runs.len()), (499_999, 2));
    }

    #[test]
    fn an_event_that_was_written_twice_counts_once() {
        let mut tally = Tally::default();
        [letter(0, 10), letter(1, 11), letter(2, 10)].iter().for_each(|record| tally.read(record));
        assert_eq!(tally.len(), 2);
        [settles(3, "0,2"), settles(4, "nonsense"), settles(5, "99")].iter().for_each(|record| tally.read(record));
        assert_eq!(tally.len(), 1);
        tally.read(&letter(6, 10));
        assert_eq!(tally.len(), 2, "it became a letter again");
    }

    proptest! {
        #[test]
        fn runs_hold_what_a_set_holds(steps in proptest::collection::vec((0i64..40, any::<bool>()), 0..200)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (number, inserts) in steps {
                if inserts {
                    ranges.insert(number);
                    set.insert(number);
                } else {
                    ranges.remove(number);
                    set.remove(&number);
                }
                let held: Vec<i64> = ranges.runs.iter().flat_map(|(first, last)| *first..=*last).collect();
                prop_assert_eq!(&held, &set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.len(), set.len() as u64);
                let apart = ranges.runs.iter().zip(ranges.runs.iter().skip(1)).all(|(one, next)| one.1 + 1 < *next.0);
                prop_assert!(apart, "{ranges:?}");
            }
        }
    }
}
