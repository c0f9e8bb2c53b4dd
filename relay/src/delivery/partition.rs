//! A partition that is assigned to this relay: its lanes and its low-water mark.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::lanes::Lanes;
use super::tracker::Tracker;
use crate::cloudevents::{Event, Malformed};
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
    /// Nothing new begins here: the partition is being taken away.
    pub(super) revoked: CancellationToken,
    /// What has begun ends here and now.
    pub(super) aborted: CancellationToken,
    /// Deliveries that have begun.
    busy: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lanes: Lanes<LaneKey, Arc<Work>>,
    tracker: Tracker,
    weight: usize,
}

impl Partition {
    pub(super) fn new() -> Self {
        Self {
            revoked: CancellationToken::new(),
            aborted: CancellationToken::new(),
            busy: TaskTracker::new(),
            state: Mutex::new(State { lanes: Lanes::new(), tracker: Tracker::default(), weight: 0 }),
        }
    }

    /// Takes an event in. `true`: its lane needs somebody who works it.
    pub(super) fn push(&self, work: Work) -> bool {
        let mut state = self.state();
        state.tracker.begin(work.record.offset);
        state.weight += work.weight;
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
        state.weight -= work.weight;
        state.lanes.done(lane)
    }

    /// What is fetched and not done.
    pub(super) fn weight(&self) -> usize {
        self.state().weight
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

    /// Held while a delivery is under way.
    pub(super) fn begin(&self) -> TaskTrackerToken {
        self.busy.token()
    }

    /// Until nothing is under way. Only once it is revoked.
    pub(super) async fn idle(&self) {
        self.busy.close();
        self.busy.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
