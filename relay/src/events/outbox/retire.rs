//! Retires a publisher that is dead: after a crash, after a stall, or because it gave its producer up.
//!
//! The order matters. First fence it: initialising a producer under its transactional id makes Kafka refuse it and end its
//! open transaction; a commit that was decided is finished, anything else is aborted. Then read its journal, which nothing can
//! change any more. Only then, in one transaction of the database, mark its events and free its shards. If the relay dies in
//! between, the publisher is as dead as before, and the next relay begins again.

use std::time::Instant;

use super::journal;
use super::producer::{Setup, Transactional};
use super::store;
use crate::config::KafkaConfig;
use crate::postgres::RelayRole;

/// Retires a publisher. Answers how many shards it held.
pub(super) async fn retire(kafka: &KafkaConfig, setup: &Setup, role: &RelayRole, id: &str) -> anyhow::Result<i32> {
    let began = Instant::now();
    let fence = Transactional::open(kafka, setup, id).await?;
    tracing::debug!(publisher = id, after_ms = began.elapsed().as_millis() as u64, "fenced");
    // All that it committed is before this record, a tombstone of a key that only this takeover uses.
    let end = fence.note(id, &format!("{id}/end"), None).await?;
    tracing::debug!(publisher = id, after_ms = began.elapsed().as_millis() as u64, "noted the journal's end");
    let committed = journal::last(kafka, &setup.journal, id, end).await?;
    let freed = store::retire(role, id, &committed).await?;
    tracing::info!(
        service = &*setup.service,
        publisher = id,
        shards = freed,
        marked = committed.len(),
        took_ms = began.elapsed().as_millis() as u64,
        "took over from a dead publisher"
    );
    // Its key has done its duty; where this fails the journal keeps one small record too many.
    if let Err(error) = fence.note(id, id, None).await {
        tracing::debug!(%error, publisher = id, "its journal couldn't be cleared");
    }
    Ok(freed)
}
