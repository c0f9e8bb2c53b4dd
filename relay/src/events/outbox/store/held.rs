//! Held keys in PostgreSQL: keys whose next event Kafka refuses, and their events.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::{Bounds, Held, Waiting, waiting};
use crate::postgres::{RelayRole, milliseconds};

const HOLD: &str = "SELECT towpath.outbox_hold($1, $2, $3, $4, $5, $6, $7)";

const SETTLE: &str = "SELECT towpath.held_settle($1, $2, $3, $4, $5, $6, $7)";

const RELEASE: &str = "SELECT towpath.held_release($1, $2, $3)";

/// Of a key whose first event was refused the first alone, of the others up to the limit: of the keys that have been due
/// for the longest. A key that is due later than any wait lasts was held while the database's clock was ahead.
const READ: &str = concat!(
    "SELECT ",
    waiting!(),
    ", batch.refused
    FROM (
        SELECT first.seq, k.refused, sum(first.bytes) OVER (ORDER BY first.seq) - first.bytes AS bytes_before
        FROM (
            SELECT d.topic, d.key, d.refused FROM towpath.held_key AS d
            WHERE d.shard = ANY ($1)
                AND (d.retry_at <= clock_timestamp() OR d.retry_at > clock_timestamp() + interval '2 minutes')
            ORDER BY d.retry_at LIMIT $5
        ) AS k
        CROSS JOIN LATERAL (
            SELECT e.seq, octet_length(e.data) AS bytes FROM towpath.held_event AS e
            WHERE e.topic = k.topic AND e.key = k.key
            ORDER BY e.seq LIMIT CASE WHEN k.refused > 0 THEN 1 ELSE $4 END
        ) AS first
        ORDER BY first.seq LIMIT $2
    ) AS batch
    JOIN towpath.held_event AS o ON o.seq = batch.seq
    WHERE batch.bytes_before < $3 ORDER BY o.seq"
);

const SHARDS: &str = "SELECT DISTINCT shard FROM towpath.held_key WHERE shard = ANY ($1)";

/// The newest of them tells the cause.
const SUMMARY: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM towpath.held_key LIMIT 10000) AS held), newest.cause, newest.topic, head.seq
    FROM (SELECT cause, topic, key FROM towpath.held_key WHERE refused > 0 ORDER BY held_since DESC LIMIT 1) AS newest
    CROSS JOIN LATERAL (
        SELECT e.seq FROM towpath.held_event AS e WHERE e.topic = newest.topic AND e.key = newest.key ORDER BY e.seq LIMIT 1
    ) AS head";

/// What became of one event of a held key.
#[derive(Debug)]
pub(in super::super) struct Refused<'a> {
    pub(in super::super) event: &'a Waiting,
    pub(in super::super) cause: &'a str,
    /// Until it is tried again.
    pub(in super::super) wait: Duration,
}

/// What is held, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Summary {
    /// Up to 10,000.
    pub(in super::super) keys: i64,
    pub(in super::super) cause: String,
    pub(in super::super) topic: String,
    pub(in super::super) seq: i64,
}

/// Moves events out of the outbox: those that Kafka refused, and those that stand behind a held key. Answers how many.
pub(in super::super) async fn hold(
    role: &RelayRole,
    me: &str,
    held: &Held,
    refused: &[Refused<'_>],
    behind: &[&Waiting],
) -> anyhow::Result<i64> {
    let mut moved = 0;
    for (shard, fence) in held {
        let refused: Vec<&Refused<'_>> = refused.iter().filter(|refused| refused.event.shard == *shard).collect();
        let behind = behind.iter().filter(|event| event.shard == *shard).map(|event| event.seq);
        let first: Vec<i64> = refused.iter().map(|refused| refused.event.seq).collect();
        let seqs: Vec<i64> = first.iter().copied().chain(behind).collect();
        if seqs.is_empty() {
            continue;
        }
        let causes: Vec<&str> = refused.iter().map(|refused| refused.cause).collect();
        let wait = milliseconds(refused.iter().map(|refused| refused.wait).max().unwrap_or_default());
        let parameters = [
            (shard as &(dyn ToSql + Sync), Type::INT2),
            (&me, Type::TEXT),
            (fence, Type::INT8),
            (&seqs, Type::INT8_ARRAY),
            (&first, Type::INT8_ARRAY),
            (&causes, Type::TEXT_ARRAY),
            (&wait, Type::INT8),
        ];
        moved += role.row(HOLD, &parameters).await?.try_get::<_, i64>(0)?;
    }
    Ok(moved)
}

/// Reads the next events of the held keys that are due, at most one for each that Kafka refused the last time.
pub(in super::super) async fn read(
    role: &RelayRole,
    shards: &[i16],
    keys: i64,
    bounds: Bounds,
) -> anyhow::Result<Vec<Waiting>> {
    let [events, per_key, bytes] =
        [bounds.events, bounds.events_per_shard, bounds.bytes].map(|bound| bound.try_into().unwrap_or(i64::MAX));
    let parameters = [
        (&shards as &(dyn ToSql + Sync), Type::INT2_ARRAY),
        (&events, Type::INT8),
        (&bytes, Type::INT8),
        (&per_key, Type::INT8),
        (&keys, Type::INT8),
    ];
    let rows = role.rows(READ, &parameters).await?;
    Ok(rows.iter().map(Waiting::read).collect::<Result<_, _>>()?)
}

/// Records what became of held events. `false`: `me` holds a shard of them no longer.
pub(in super::super) async fn settle(
    role: &RelayRole,
    me: &str,
    held: &Held,
    published: &[Waiting],
    refused: &[Refused<'_>],
) -> anyhow::Result<bool> {
    for (shard, fence) in held {
        let seqs: Vec<i64> = published.iter().filter(|event| event.shard == *shard).map(|event| event.seq).collect();
        let refused: Vec<&Refused<'_>> = refused.iter().filter(|refused| refused.event.shard == *shard).collect();
        if seqs.is_empty() && refused.is_empty() {
            continue;
        }
        let first: Vec<i64> = refused.iter().map(|refused| refused.event.seq).collect();
        let causes: Vec<&str> = refused.iter().map(|refused| refused.cause).collect();
        let waits: Vec<i64> = refused.iter().map(|refused| milliseconds(refused.wait)).collect();
        let parameters = [
            (shard as &(dyn ToSql + Sync), Type::INT2),
            (&me, Type::TEXT),
            (fence, Type::INT8),
            (&seqs, Type::INT8_ARRAY),
            (&first, Type::INT8_ARRAY),
            (&causes, Type::TEXT_ARRAY),
            (&waits, Type::INT8_ARRAY),
        ];
        if !role.row(SETTLE, &parameters).await?.try_get::<_, bool>(0)? {
            return Ok(false);
        }
    }
    Ok(published.iter().all(|event| held.contains_key(&event.shard)))
}

/// Those of these shards that have held keys.
pub(in super::super) async fn shards(role: &RelayRole, shards: &[i16]) -> anyhow::Result<Vec<i16>> {
    let rows = role.rows(SHARDS, &[(&shards, Type::INT2_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Lets keys go of which nothing is held any more. Answers how many.
pub(in super::super) async fn release(role: &RelayRole, me: &str, held: &Held, shards: &[i16]) -> anyhow::Result<i64> {
    let mut released = 0;
    for (shard, fence) in held.iter().filter(|(shard, _)| shards.contains(shard)) {
        let parameters = [(shard as &(dyn ToSql + Sync), Type::INT2), (&me, Type::TEXT), (fence, Type::INT8)];
        released += role.row(RELEASE, &parameters).await?.try_get::<_, i64>(0)?;
    }
    Ok(released)
}

/// What is held in the whole outbox, if anything is.
pub(in super::super) async fn summary(role: &RelayRole) -> anyhow::Result<Option<Summary>> {
    let rows = role.rows(SUMMARY, &[]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Summary { keys: row.try_get(0)?, cause: row.try_get(1)?, topic: row.try_get(2)?, seq: row.try_get(3)? }))
}
