//! The low-water mark of a partition. Pure rules.
//!
//! Events of different keys are done in any order, but Kafka keeps one number per partition: every event before it is done.
//! So the relay commits the low-water mark: a crash redelivers what was done beyond it, and skips nothing.

use std::collections::BTreeSet;

/// The fetched offsets of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// The offset after the last fetched one.
    next: Option<i64>,
    /// Fetched and not done.
    pending: BTreeSet<i64>,
    /// The mark that was last taken for a commit.
    committed: Option<i64>,
}

impl Tracker {
    /// An event was fetched. Offsets ascend, with gaps; if they start over (the topic was recreated, or its offset reset) so
    /// does the mark: it redelivers rather than skips.
    pub(crate) fn begin(&mut self, offset: i64) {
        self.pending.insert(offset);
        self.next = Some(offset + 1);
    }

    /// An event was fetched that no subscription wants.
    pub(crate) fn skip(&mut self, offset: i64) {
        self.next = Some(offset + 1);
    }

    /// An event is done.
    pub(crate) fn done(&mut self, offset: i64) {
        self.pending.remove(&offset);
    }

    /// The offset after the last fetched one; `None` before anything was fetched.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    /// The low-water mark: every event before it is done. `None` before anything was fetched.
    pub(crate) fn low_water(&self) -> Option<i64> {
        let first = self.pending.first().copied();
        match (first, self.next) {
            (Some(first), Some(next)) => Some(first.min(next)),
            (first, next) => first.or(next),
        }
    }

    /// The low-water mark, if it moved since it was last taken.
    pub(crate) fn take_commit(&mut self) -> Option<i64> {
        let mark = self.low_water()?;
        (self.committed.replace(mark) != Some(mark)).then_some(mark)
    }

    /// The commit failed: the mark is taken again.
    pub(crate) fn commit_failed(&mut self) {
        self.committed = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mark_stands_before_the_first_that_is_not_done() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.take_commit(), None);
        for offset in [10, 11, 13] {
            tracker.begin(offset);
        }
        assert_eq!(tracker.take_commit(), Some(10));
        tracker.done(11);
        assert_eq!(tracker.take_commit(), None);
        tracker.done(10);
        assert_eq!(tracker.take_commit(), Some(13));
        tracker.done(13);
        tracker.skip(20);
        assert_eq!(tracker.take_commit(), Some(21));
        tracker.commit_failed();
        assert_eq!(tracker.take_commit(), Some(21));
    }

    #[test]
    fn offsets_that_begin_anew_are_not_skipped() {
        let mut tracker = Tracker::default();
        tracker.begin(100);
        tracker.done(100);
        tracker.begin(0);
        assert_eq!(tracker.low_water(), Some(0));
        tracker.done(0);
        assert_eq!(tracker.low_water(), Some(1));
    }

    proptest! {
        /// Whatever the order in which events end: all before the mark are done, and the mark itself is not (or is
        /// beyond all that was fetched).
        #[test]
        fn a_crash_redelivers_and_never_skips(
            steps in proptest::collection::vec((1i64..4, proptest::option::of(any::<prop::sample::Index>()), any::<bool>()), 1..200),
        ) {
            let mut tracker = Tracker::default();
            let (mut offset, mut open, mut done) = (0, Vec::new(), BTreeSet::new());
            let mut last_mark = 0;
            for (gap, end, skipped) in steps {
                offset += gap;
                if skipped {
                    tracker.skip(offset);
                    done.insert(offset);
                } else {
                    tracker.begin(offset);
                    open.push(offset);
                }
                if let Some(end) = end.filter(|_| !open.is_empty()) {
                    let ended = open.swap_remove(end.index(open.len()));
                    tracker.done(ended);
                    done.insert(ended);
                }
                let mark = tracker.low_water().unwrap();
                prop_assert!(open.iter().all(|undone| *undone >= mark));
                prop_assert!(mark == offset + 1 || open.contains(&mark));
                prop_assert!(mark >= last_mark);
                last_mark = mark;
            }
        }
    }
}
