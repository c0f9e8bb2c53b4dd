//! A partition that is assigned to this relay: its lanes and its low-water mark.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::lanes::Lanes;
use super::tracker::Tracker;
use crate::events::cloudevents::{Event, Malformed};
use crate::kafka::Record;

/// An event that was fetched.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) record: Record,
    pub(super) event: Result<Event, Malformed>,
    /// Where it goes; nowhere where it isn't an event.
    pub(super) route: Option<Arc<str>>,
    /// What it counts against the buffer.
    pub(super) weight: usize,
}

/// Events without a key have no order among each other that anybody could rely on; they share a lane all the same.
pub(super) type LaneKey = Option<Bytes>;

#[derive(Debug)]
pub(super) struct Partition {
    /// The partition is being taken away: nothing waits any longer to be tried again, and of what was not begun only
    /// that begins which stands before something that was.
    pub(super) revoked: CancellationToken,
    /// What has begun ends here and now.
    pub(super) aborted: CancellationToken,
    /// Those who work its lanes.
    workers: TaskTracker,
    /// What all partitions of the group have fetched and not done.
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
    /// Once it is taken away: nothing after this begins.
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

    /// Takes an event in. `true`: its lane needs somebody who works it.
    pub(super) fn push(&self, work: Work) -> bool {
        let mut state = self.state();
        state.tracker.begin(work.record.offset);
        state.weight += work.weight;
        self.total.fetch_add(work.weight, Ordering::Relaxed);
        state.lanes.push(work.record.key.clone(), Arc::new(work))
    }

    /// An event that nobody wants.
    pub(super) fn skip(&self, offset: i64) {
        self.state().tracker.skip(offset);
    }

    /// The first event of a lane.
    pub(super) fn front(&self, lane: &LaneKey) -> Option<Arc<Work>> {
        self.state().lanes.front(lane)
    }

    /// The first event of a lane is done. `false`: the lane is empty.
    pub(super) fn done(&self, lane: &LaneKey, work: &Work) -> bool {
        let mut state = self.state();
        state.tracker.done(work.record.offset);
        if state.ends_at.is_none() {
            state.weight -= work.weight;
            self.total.fetch_sub(work.weight, Ordering::Relaxed);
        }
        state.lanes.done(lane)
    }

    /// What is fetched and not done.
    pub(super) fn weight(&self) -> usize {
        self.state().weight
    }

    /// Begins to take it away. What was begun out of order leaves holes before it, and holes would make it come again
    /// elsewhere; so they are filled, and nothing further begins.
    pub(super) fn revoke(&self) {
        let mut state = self.state();
        if state.ends_at.is_none() {
            state.ends_at = Some(state.last_begun);
            self.total.fetch_sub(state.weight, Ordering::Relaxed);
        }
        drop(state);
        self.revoked.cancel();
    }

    /// Begins a delivery. `false`: it is too late for this one.
    pub(super) fn begin(&self, offset: i64) -> bool {
        let mut state = self.state();
        if self.aborted.is_cancelled() || state.ends_at.is_some_and(|last| offset > last) {
            return false;
        }
        state.last_begun = state.last_begun.max(offset);
        true
    }

    /// Until it is too late to begin this one.
    pub(super) async fn too_late_for(&self, offset: i64) {
        self.revoked.cancelled().await;
        if self.state().ends_at.is_none_or(|last| offset <= last) {
            self.aborted.cancelled().await;
        }
    }

    /// Everything before it is done.
    pub(super) fn low_water(&self) -> Option<i64> {
        self.state().tracker.low_water()
    }

    /// What to commit, where it has moved.
    pub(super) fn take_commit(&self) -> Option<i64> {
        self.state().tracker.take_commit()
    }

    pub(super) fn commit_failed(&self) {
        self.state().tracker.commit_failed();
    }

    /// Held by who works a lane.
    pub(super) fn worker(&self) -> TaskTrackerToken {
        self.workers.token()
    }

    /// Until nobody works here any more. Only once it is revoked.
    pub(super) async fn idle(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
