//! Sorts what was fetched into lanes.

use std::sync::Arc;

use tokio::time::sleep;

use super::content::{self, Content};
use super::group::Group;
use super::lane;
use super::partition::{LaneKey, Partition, Work};
use crate::kafka::Taken;
use crate::panics::{AGAIN, caught};

/// Puts a fetched record into its lane, and spawns a worker for a lane that has none.
pub(super) fn take(group: &Arc<Group>, taken: Taken) {
    let place = (taken.record().topic.clone(), taken.record().partition);
    let Some(partition) = group.partition(&place) else { return };
    let (record, content) = content::of(taken, &group.routes, group.largest);
    if matches!(content, Content::Unwanted) {
        group.count("skipped");
        return partition.skip(record.offset);
    }
    let weight = group.weight(&record);
    let lane = record.key.clone();
    if partition.push(Work { record, content, weight }) {
        // Taken here: a rebalance that begins now waits for it.
        let worker = partition.worker();
        let working = work(Arc::clone(group), partition, lane);
        group.runtime.spawn(async move {
            working.await;
            drop(worker);
        });
    }
}

/// Works a lane. Where that panics, it begins anew with the event that it was at: nobody else would, and a lane without a
/// worker would hold its partition's low-water mark back for ever.
async fn work(group: Arc<Group>, partition: Arc<Partition>, lane: LaneKey) {
    let mut failures = AGAIN.failures();
    while let Err(cause) = caught(lane::work(Arc::clone(&group), Arc::clone(&partition), lane.clone())).await {
        group.lane_panicked(&cause);
        if partition.revoked.run_until_cancelled(sleep(failures.next())).await.is_none() {
            return;
        }
    }
}
