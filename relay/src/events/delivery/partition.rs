//! A partition that is assigned to this relay: its lanes and its low-water mark.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::content::Content;
use super::lanes::Lanes;
use super::tracker::Tracker;
use crate::kafka::Record;

/// A record that was fetched.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) record: Record,
    pub(super) content: Content,
    /// How much of the buffer it takes.
    pub(super) weight: usize,
}

/// How work on a record ended.
pub(super) enum Fate {
    /// The event is done.
    Done,
    /// The partition was taken away: the relay that has it now delivers the event.
    Left,
}

/// The key of a record. Events without a key share one lane.
pub(super) type LaneKey = Option<Bytes>;

#[derive(Debug)]
pub(super) struct Partition {
    /// The partition is being taken away: no lane waits for a retry any longer, and a delivery begins only if a later event
    /// of the partition was begun already.
    pub(super) revoked: CancellationToken,
    /// Deliveries in flight end at once.
    pub(super) aborted: CancellationToken,
    /// The workers of its lanes.
    workers: TaskTracker,
    /// What all partitions of the group take of the buffer.
    total: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lanes: Lanes<LaneKey, Arc<Work>>,
    tracker: Tracker,
    weight: usize,
    /// The last event whose delivery has begun.
    last_begun: i64,
    /// Once it is taken away: no delivery of a later offset begins.
    ends_at: Option<i64>,
}

impl Partition {
    pub(super) fn new(total: Arc<AtomicUsize>) -> Self {
        Self {
            revoked: CancellationToken::new(),
            aborted: CancellationToken::new(),
            workers: TaskTracker::new(),
            total,
            state: Mutex::new(State {
                lanes: Lanes::new(),
                tracker: Tracker::default(),
                weight: 0,
                last_begun: -1,
                ends_at: None,
            }),
        }
    }

    /// Takes an event. `true`: its lane needs a worker.
    pub(super) fn push(&self, work: Work) -> bool {
        let mut state = self.state();
        state.tracker.begin(work.record.offset);
        state.weight += work.weight;
        self.total.fetch_add(work.weight, Ordering::Relaxed);
        state.lanes.push(work.record.key.clone(), Arc::new(work))
    }

    /// Skips an event that no subscription wants.
    pub(super) fn skip(&self, offset: i64) {
        self.state().tracker.skip(offset);
    }

    /// The first event of a lane.
    pub(super) fn front(&self, lane: &LaneKey) -> Option<Arc<Work>> {
        self.state().lanes.front(lane)
    }

    /// Removes the first event of a lane, which is done. `false`: the lane is empty.
    pub(super) fn done(&self, lane: &LaneKey, work: &Work) -> bool {
        let mut state = self.state();
        state.tracker.done(work.record.offset);
        if state.ends_at.is_none() {
            state.weight -= work.weight;
            self.total.fetch_sub(work.weight, Ordering::Relaxed);
        }
        state.lanes.done(lane)
    }

    /// How much of the buffer it takes.
    pub(super) fn weight(&self) -> usize {
        self.state().weight
    }

    /// Begins to take the partition away. Deliveries that were begun out of order leave events before them undone, and the
    /// low-water mark would stay before those; so these are still delivered, and no later ones.
    pub(super) fn revoke(&self) {
        let mut state = self.state();
        if state.ends_at.is_none() {
            state.ends_at = Some(state.last_begun);
            self.total.fetch_sub(state.weight, Ordering::Relaxed);
        }
        drop(state);
        self.revoked.cancel();
    }

    /// Begins a delivery. `false`: the partition was taken away, and it is too late for this offset.
    pub(super) fn begin(&self, offset: i64) -> bool {
        let mut state = self.state();
        if self.aborted.is_cancelled() || state.ends_at.is_some_and(|last| offset > last) {
            return false;
        }
        state.last_begun = state.last_begun.max(offset);
        true
    }

    /// Waits until it is too late to begin this offset.
    pub(super) async fn too_late_for(&self, offset: i64) {
        self.revoked.cancelled().await;
        if self.state().ends_at.is_none_or(|last| offset <= last) {
            self.aborted.cancelled().await;
        }
    }

    /// The offset after the last fetched one; `None` before anything was fetched.
    pub(super) fn next(&self) -> Option<i64> {
        self.state().tracker.next()
    }

    /// The low-water mark.
    pub(super) fn low_water(&self) -> Option<i64> {
        self.state().tracker.low_water()
    }

    /// The low-water mark, if it moved since it was last taken.
    pub(super) fn take_commit(&self) -> Option<i64> {
        self.state().tracker.take_commit()
    }

    pub(super) fn commit_failed(&self) {
        self.state().tracker.commit_failed();
    }

    /// A worker holds this while it works a lane.
    pub(super) fn worker(&self) -> TaskTrackerToken {
        self.workers.token()
    }

    /// How many lanes have no worker, if any. One that has only begun may not have its worker yet.
    pub(super) fn deserted(&self) -> Option<usize> {
        let lanes = self.state().lanes.count();
        Some(lanes.saturating_sub(self.workers.len())).filter(|deserted| *deserted > 0)
    }

    /// Waits until no worker is left. Call it after `revoke`.
    pub(super) async fn idle(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_nobody_works_is_seen() {
        let partition = Partition::new(Arc::default());
        let work = |offset: i64, key: &'static str| {
            let key = Some(Bytes::from_static(key.as_bytes()));
            let record = Record {
                topic: "t".into(),
                partition: 0,
                offset,
                timestamp_ms: None,
                key,
                value: None,
                headers: Vec::new(),
            };
            Work { record, content: Content::Unwanted, weight: 1 }
        };
        assert!(partition.push(work(1, "a")) && !partition.push(work(2, "a")) && partition.push(work(3, "b")));
        let (first, second) = (partition.worker(), partition.worker());
        assert_eq!(partition.deserted(), None);
        drop(first);
        assert_eq!(partition.deserted(), Some(1));
        drop(second);
        assert_eq!(partition.deserted(), Some(2));
        let a = Some(Bytes::from_static(b"a"));
        assert!(partition.done(&a, &work(1, "a")) && !partition.done(&a, &work(2, "a")));
        assert_eq!(partition.deserted(), Some(1), "the lane is over");
    }
}
