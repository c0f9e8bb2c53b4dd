//! What the databases hold.

use anyhow::{Context, Result};
use tokio_postgres::{Client, Row};

use super::{Fence, Lease, Placed, Record, Said, Session, Timer, ids};
use crate::service::Service;

const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM towpath.outbox";
const UNPUBLISHED: &str = "
    SELECT (SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL) + (SELECT count(*) FROM towpath.held_event)";
const HANDLED: &str = "SELECT count(*) FROM towpath.inbox";
const PRICED: &str = "SELECT count(*) FROM app.product_prices WHERE starts_with(sku, $1)";
const PLACED: &str = "SELECT idempotency_key, id, status FROM app.orders WHERE starts_with(idempotency_key, $1)";

/// What was said since, and what of earlier is among the records that were found.
const SAID: &str = "
    SELECT seq, topic, key, id, published_at IS NOT NULL AS published, seq > $1 AS of_the_run
    FROM towpath.outbox WHERE seq > $1 OR id = ANY ($2)
    ORDER BY seq";

/// All but ourselves and the server's own processes.
const SESSIONS: &str = "
    SELECT pid, coalesce(usename, '') AS usename, coalesce(state, '') AS state, query,
           wait_event_type IS NOT DISTINCT FROM 'Lock' AS waits,
           coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float8 AS for_s
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()
      AND (state LIKE 'idle in transaction%' OR wait_event_type = 'Lock')";

const LEASES: &str = "
    SELECT shard, holder, fence,
           coalesce(extract(epoch FROM greatest(expires_at, '2000-01-01') - clock_timestamp()), 0)::float8 AS good_for_s
    FROM towpath.shard_lease ORDER BY shard";

const TIMERS: &str = "
    SELECT name, fence, extract(epoch FROM clock_timestamp() - next_due)::float8 AS overdue_s
    FROM towpath.timer ORDER BY name";

async fn number(database: &Client, sql: &str) -> Result<i64> {
    Ok(database.query_one(sql, &[]).await?.try_get(0)?)
}

pub(super) async fn last_seq(database: &Client) -> Result<i64> {
    number(database, LAST_SEQ).await.context("cannot read the outbox")
}

pub(super) async fn unpublished(database: &Client) -> Result<i64> {
    number(database, UNPUBLISHED).await.context("cannot read the outbox")
}

pub(super) async fn handled(database: &Client) -> Result<i64> {
    number(database, HANDLED).await.context("cannot read the inbox")
}

pub(super) async fn priced(database: &Client, run: &str) -> Result<i64> {
    Ok(database.query_one(PRICED, &[&run]).await.context("cannot read the prices")?.try_get(0)?)
}

pub(super) async fn placed(database: &Client, run: &str) -> Result<Vec<Placed>> {
    let row = |row: &Row| -> Result<Placed> {
        Ok(Placed { key: row.try_get(0)?, id: row.try_get(1)?, status: row.try_get(2)? })
    };
    database.query(PLACED, &[&run]).await.context("cannot read the orders")?.iter().map(row).collect()
}

pub(super) async fn said(database: &Client, from: i64, records: &[Record]) -> Result<Vec<Said>> {
    let topics: std::collections::BTreeSet<&str> = records.iter().map(|record| record.topic.as_str()).collect();
    let known: Vec<String> = topics.into_iter().flat_map(|topic| ids(records, topic)).collect();
    let row = |row: &Row| -> Result<Said> {
        Ok(Said {
            seq: row.try_get("seq")?,
            topic: row.try_get("topic")?,
            key: row.try_get("key")?,
            id: row.try_get("id")?,
            published: row.try_get("published")?,
            of_the_run: row.try_get("of_the_run")?,
        })
    };
    database.query(SAID, &[&from, &known]).await.context("cannot read the outbox")?.iter().map(row).collect()
}

pub(super) async fn sessions(database: &Client, service: Service) -> Result<Vec<Session>> {
    let row = |row: &Row| -> Result<Session> {
        Ok(Session {
            service,
            pid: row.try_get("pid")?,
            user: row.try_get("usename")?,
            state: row.try_get("state")?,
            waits: row.try_get("waits")?,
            for_s: row.try_get("for_s")?,
            query: row.try_get("query")?,
        })
    };
    database.query(SESSIONS, &[]).await.context("cannot read pg_stat_activity")?.iter().map(row).collect()
}

pub(super) async fn leases(database: &Client, service: Service) -> Result<Vec<Lease>> {
    let row = |row: &Row| -> Result<Lease> {
        let (shard, holder, good_for_s) = (row.try_get("shard")?, row.try_get("holder")?, row.try_get("good_for_s")?);
        Ok(Lease { service, shard, holder, good_for_s })
    };
    database.query(LEASES, &[]).await.context("cannot read the leases")?.iter().map(row).collect()
}

pub(super) async fn timers(database: &Client, service: Service) -> Result<Vec<Timer>> {
    let row = |row: &Row| -> Result<Timer> {
        Ok(Timer { service, name: row.try_get("name")?, overdue_s: row.try_get("overdue_s")? })
    };
    database.query(TIMERS, &[]).await.context("cannot read the timers")?.iter().map(row).collect()
}

/// The fence numbers of all shards and timers.
pub(super) async fn fences(database: &Client, service: Service) -> Result<Vec<Fence>> {
    let mut fences = Vec::new();
    for row in database.query(LEASES, &[]).await? {
        let shard: i16 = row.try_get("shard")?;
        fences.push(Fence { service, of: format!("shard {shard}"), number: row.try_get("fence")? });
    }
    for row in database.query(TIMERS, &[]).await? {
        let name: String = row.try_get("name")?;
        fences.push(Fence { service, of: format!("timer {name}"), number: row.try_get("fence")? });
    }
    Ok(fences)
}
