//! Sorts what was fetched into lanes.

use std::sync::Arc;

use super::group::Group;
use super::lane;
use super::partition::Work;
use crate::events::cloudevents;
use crate::kafka::Record;

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
        let worker = partition.worker();
        let working = lane::work(Arc::clone(group), partition, lane);
        group.runtime.spawn(async move {
            working.await;
            drop(worker);
        });
    }
}
