//! Goes on behind records that Kafka's client can't read.
//!
//! Such as records that are compressed in a way that it doesn't unpack. The client says so, names no partition, and tries again for
//! ever; or it says nothing, and the watchdog sees that it fetches nothing. Everything behind the record would wait. So this looks
//! for the partition with a client of its own, writes a dead letter for each record that it can't read either, which refers to the
//! record, and has the poll loop go on behind them.

use std::sync::Arc;

use super::group::{Group, Place};
use super::letter::give_up;
use super::partition::{Fate, Partition};
use crate::events::dead_letters::{self, Cause, Form, Found, Origin, Reason};
use crate::kafka::Record;

/// Works whenever the client may have met such a record. Never returns.
pub(super) async fn skip(group: &Arc<Group>) {
    loop {
        group.unreadable.notified().await;
        for (place, partition, next) in group.nexts() {
            skip_from(group, &place, &partition, next).await;
        }
    }
}

/// Gives up each record from this offset on that can't be read.
async fn skip_from(group: &Group, place: &Place, partition: &Partition, mut offset: i64) {
    loop {
        let mut origin = Origin { topic: place.0.clone(), partition: place.1, offset };
        let reading = dead_letters::read_origin(&group.kafka, &origin, 0);
        let Some(Ok(Found::Unreadable { at, detail })) = partition.revoked.run_until_cancelled(reading).await else {
            return;
        };
        // Between here and there nothing stands, such as where a transaction ended.
        origin.offset = at.max(offset);
        let cause = Cause { reason: Reason::Unreadable, detail, status: None, attempts: 0 };
        let record = Record {
            topic: origin.topic.clone(),
            partition: origin.partition,
            offset: origin.offset,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let form = Form::Reference { origin, bytes: 0 };
        match give_up(group, partition, &record, &form, &cause).await {
            Fate::Done => offset = record.offset + 1,
            Fate::Left => return,
        }
        // Record by record: what has its letter is done.
        group.go_on_at(place.clone(), offset);
    }
}
