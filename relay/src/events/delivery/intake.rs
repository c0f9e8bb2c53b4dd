//! Sorts what was fetched into lanes.

use std::sync::Arc;

use tokio::time::sleep;

use super::group::Group;
use super::lane;
use super::partition::{LaneKey, Partition, Work};
use crate::events::cloudevents;
use crate::kafka::Record;
use crate::panics::{AGAIN, caught};

/// Puts a fetched event into its lane, and spawns a worker for a lane that has none.
pub(super) fn take(group: &Arc<Group>, record: Record) {
    let place = (record.topic, record.partition);
    let Some(partition) = group.partition(&place) else { return };
    let record = Record { topic: place.0, ..record };
    let event = cloudevents::kafka::read(&record.headers, record.value.clone());
    let route = event.as_ref().ok().and_then(|event| group.routes.route(&record.topic, &event.kind));
    if event.is_ok() && route.is_none() {
        group.count("skipped");
        return partition.skip(record.offset);
    }
    let weight = group.weight(&record);
    let lane = record.key.clone();
    if partition.push(Work { record, event, route, weight }) {
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
