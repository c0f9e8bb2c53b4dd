//! From which number each shard is read. Pure rules.
//!
//! Up to its mark all events of a shard have been published, or are held, and none can be committed any more. Without it a
//! read would begin at the shard's beginning: it would go again through the index entries of all events that were published
//! since the oldest snapshot that is open in the database.
//!
//! Numbers are taken in one order and committed in another: 12 may be visible, and published, while 11 isn't yet committed.
//! So a mark never passes the last number of which it is known that all before it are decided ([`closed`](LowWater::closed)).
//! That becomes known by two looks: the first sees the last number that was given out and which transactions write the outbox
//! then; a later one sees that all of these have ended.

use std::collections::{BTreeMap, BTreeSet};

/// What a look into the database saw. `last` was read before `writers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InFlight {
    /// The last number that was given out.
    pub(super) last: i64,
    /// The server's life: after it, the numbers may begin lower.
    pub(super) server: String,
    /// The transactions that write the outbox.
    pub(super) writers: BTreeSet<String>,
}

/// The marks of the shards that a publisher holds.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    server: String,
    last: i64,
    closed: i64,
    /// What will be closed once its writers have ended.
    pending: Option<InFlight>,
    marks: BTreeMap<i16, i64>,
}

impl LowWater {
    /// Takes what a look saw. Answers whether the marks still hold: not where the numbers of the database have gone back, as
    /// after a failover to a server that hadn't all; then every mark must be read again, or begin at 0.
    pub(super) fn see(&mut self, seen: InFlight) -> bool {
        let highest = self.marks.values().copied().max().unwrap_or(0).max(self.closed);
        let holds = (self.server.is_empty() || self.server == seen.server) && seen.last >= highest;
        if !holds {
            *self = Self::default();
        }
        self.server.clone_from(&seen.server);
        self.last = seen.last;
        if let Some(pending) = self.pending.take_if(|pending| pending.writers.is_disjoint(&seen.writers)) {
            self.closed = pending.last;
        }
        if seen.writers.is_empty() {
            self.closed = seen.last;
        } else if self.pending.is_none() {
            self.pending = Some(seen);
        }
        holds
    }

    /// Up to this number everything is decided, in a read that begins now.
    pub(super) fn closed(&self) -> i64 {
        self.closed
    }

    /// The marks of these shards; 0 where nothing is known.
    pub(super) fn of(&self, shards: &[i16]) -> Vec<i64> {
        shards.iter().map(|shard| self.marks.get(shard).copied().unwrap_or(0)).collect()
    }

    /// Whether a shard has a mark.
    pub(super) fn knows(&self, shard: i16) -> bool {
        self.marks.contains_key(&shard)
    }

    /// Takes the mark of a shard that was read from the database. One beyond the last number that a look saw is of numbers
    /// that somebody has set back since: the shard begins at 0.
    pub(super) fn begin(&mut self, shard: i16, mark: i64) {
        self.marks.insert(shard, if mark > self.last { 0 } else { mark });
    }

    /// Forgets the shards that aren't held.
    pub(super) fn keep(&mut self, held: impl Fn(i16) -> bool) {
        self.marks.retain(|shard, _| held(*shard));
    }

    /// All events of a shard up to `number` are done, of those that a read saw which began when all up to `closed` was decided.
    pub(super) fn done(&mut self, shard: i16, number: i64, closed: i64) {
        let mark = self.marks.entry(shard).or_insert(0);
        *mark = (*mark).max(number.min(closed));
    }

    /// The marks, to be kept in the database.
    pub(super) fn marks(&self) -> (Vec<i16>, Vec<i64>) {
        self.marks.iter().map(|(shard, mark)| (*shard, *mark)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(last: i64, writers: &[&str]) -> InFlight {
        InFlight { last, server: "s".into(), writers: writers.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_number_is_closed_once_all_that_wrote_at_its_time_have_ended() {
        let mut low = LowWater::default();
        assert!(low.see(seen(10, &["a", "b"])));
        assert_eq!(low.closed(), 0);
        assert!(low.see(seen(15, &["b", "c"])));
        assert_eq!(low.closed(), 0, "b still writes");
        assert!(low.see(seen(20, &["c"])));
        assert_eq!(low.closed(), 10);
        assert!(low.see(seen(25, &["d"])));
        assert_eq!(low.closed(), 20);
        assert!(low.see(seen(26, &[])));
        assert_eq!(low.closed(), 26);
    }

    #[test]
    fn a_mark_passes_nothing_that_may_still_come() {
        let mut low = LowWater::default();
        low.see(seen(10, &[]));
        low.begin(3, 5);
        low.begin(5, 11);
        assert_eq!(low.of(&[3, 5]), [5, 0], "no number was given out beyond 10");
        low.done(3, 12, low.closed());
        assert_eq!(low.of(&[3, 4]), [10, 0]);
        low.done(3, 7, low.closed());
        assert_eq!(low.of(&[3]), [10], "it never goes back");
    }

    #[test]
    fn where_the_numbers_went_back_the_marks_are_gone() {
        for after in [InFlight { server: "another".into(), ..seen(90, &[]) }, seen(40, &[])] {
            let mut low = LowWater::default();
            low.see(seen(50, &[]));
            low.done(3, 50, 50);
            let closed = after.last;
            assert!(!low.see(after));
            assert_eq!((low.knows(3), low.closed()), (false, closed));
        }
    }

    proptest! {
        /// Transactions take a number each and commit in any order; a publisher reads and looks in between.
        #[test]
        fn nothing_that_is_committed_later_is_below_a_mark(steps in proptest::collection::vec((0..4u8, 0..8usize), 1..200)) {
            let (mut low, mut last) = (LowWater::default(), 0_i64);
            let mut open: Vec<i64> = Vec::new();
            let mut committed: BTreeSet<i64> = BTreeSet::new();
            for (step, which) in steps {
                match step {
                    0 => {
                        last += 1;
                        open.push(last);
                    }
                    1 if !open.is_empty() => {
                        let seq = open.remove(which % open.len());
                        prop_assert!(low.of(&[0])[0] < seq, "{seq} is committed below the mark");
                        committed.insert(seq);
                    }
                    2 => {
                        let writers: BTreeSet<String> = open.iter().map(i64::to_string).collect();
                        low.see(InFlight { last, server: "s".into(), writers });
                    }
                    _ => {
                        let from = low.of(&[0])[0];
                        prop_assert!(committed.iter().all(|seq| *seq > from));
                        let batch: Vec<i64> = committed.iter().copied().take(which).collect();
                        committed = committed.split_off(&batch.last().map_or(0, |seq| seq + 1));
                        let number = if committed.is_empty() { i64::MAX } else { batch.last().copied().unwrap_or(0) };
                        low.done(0, number, low.closed());
                    }
                }
            }
        }
    }
}
