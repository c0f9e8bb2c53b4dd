//! Retention: deletes published events, ids of handled events and stored answers when they are old enough.
//!
//! A day's rows at once would hold locks and swell the log; so few go at a time, often, on one relay at a time. Each table has
//! a turn and a task of its own: one that is locked or slow keeps none of the others waiting.
//!
//! # Bounded work
//!
//! No index on time is kept: it would cost each unit of work. Instead a sweep walks through a part of the table's blocks and
//! deletes what is old there, and the next sweep goes on behind it ([`walk`]): so it touches a fixed part of the table, however
//! many rows are young, or dead and not yet taken away, and goes beyond that only as long as it finds old rows. A row is
//! deleted within a quarter of its retention after that is over.
//!
//! # Clocks
//!
//! A row is old by whichever clock says the least ([`clock`]): the database's, which wrote its time, or this relay's. So a
//! database whose clock runs ahead deletes nothing early. A row whose time is to come was written by such a clock, and counts as
//! written when that is found out.

mod clock;
mod walk;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use metrics::counter;
use tokio_postgres::types::{ToSql, Type};

use super::job::{Ended, Job, RETRY_AFTER, keep_running};
use crate::config::Limits;
use crate::postgres::RelayRole;
use crate::service::Service;
use crate::telemetry::metrics as names;
use clock::Clock;
use walk::Walk;

/// The pause after a transaction that deleted something: the service's statements come first.
const PAUSE: Duration = Duration::from_millis(20);
/// Within this part of a table's retention a walk through it is over.
const WALKS_PER_RETENTION: u32 = 4;

/// A table that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Outbox,
    Inbox,
    Idempotency,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Outbox, Self::Inbox, Self::Idempotency];

    /// Its name in the schema `towpath`.
    fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Inbox => "inbox",
            Self::Idempotency => "idempotency",
        }
    }

    /// The column that says when a row's retention begins.
    fn time(self) -> &'static str {
        match self {
            Self::Outbox => "published_at",
            Self::Inbox => "handled_at",
            Self::Idempotency => "created_at",
        }
    }

    /// The name under which the database keeps the turn; a timer in relay.toml has no space in its name. The first is
    /// that of earlier releases, which clean all three tables under it.
    fn turn(self) -> &'static str {
        match self {
            Self::Outbox => "towpath purge",
            Self::Inbox => "towpath purge inbox",
            Self::Idempotency => "towpath purge idempotency",
        }
    }

    fn retention(self, limits: &Limits) -> Duration {
        Duration::from_millis(match self {
            Self::Outbox => limits.outbox_retention_ms,
            Self::Inbox => limits.inbox_retention_ms,
            Self::Idempotency => limits.idempotency_retention_ms,
        })
    }
}

/// Deletes the old rows between two places of a table, and answers how many; `$1` and `$2` are the places, `$3` this relay's
/// time and `$4` the retention, in seconds. `extract` keeps PostgreSQL from an index on the time: it would lead through the
/// whole table.
#[must_use]
pub fn delete_between(table: &str, time: &str) -> String {
    format!(
        "WITH old AS (
            DELETE FROM towpath.{table} AS t WHERE t.ctid >= $1::text::tid AND t.ctid < $2::text::tid
                AND extract(epoch FROM t.{time}) < (
                    SELECT least(extract(epoch FROM clock_timestamp())::float8, $3::float8) - $4::float8)::numeric
            RETURNING 1
        ), mended AS (
            UPDATE towpath.{table} AS t SET {time} = clock_timestamp()
            WHERE t.ctid >= $1::text::tid AND t.ctid < $2::text::tid
                AND extract(epoch FROM t.{time}) > (SELECT extract(epoch FROM clock_timestamp()) + 60)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM mended)"
    )
}

const WHERE_IT_IS: &str = "
    SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint,
           coalesce((SELECT position FROM towpath.retention WHERE name = $2), 0)";

const KEEP_POSITION: &str = "
    INSERT INTO towpath.retention (name, position) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position";

/// Deletes the old rows of one table of a service's database, again and again, until the relay stops calling.
pub(super) async fn delete_old_rows(service: Arc<Service>, table: Table) -> anyhow::Result<()> {
    let every = Duration::from_millis(service.limits().purge_every_ms);
    let clock = Mutex::new(Clock::new(SystemTime::now(), Instant::now()));
    let retention = Retention { role: service.relay_role()?, service: Arc::clone(&service), table, every, clock };
    keep_running(&service, table.turn(), every, &retention).await
}

struct Retention {
    service: Arc<Service>,
    role: RelayRole,
    table: Table,
    every: Duration,
    clock: Mutex<Clock>,
}

impl Job for Retention {
    async fn run(&self, _due: &str) -> Ended {
        let (service, table) = (&*self.service.name, self.table.name());
        let mut walk = None;
        loop {
            let wait = match self.step(&mut walk).await {
                Ok(None) => return Ended::Done,
                Ok(Some(0)) => Duration::ZERO,
                Ok(Some(rows)) => {
                    counter!(names::RETENTION_ROWS, "service" => service.to_owned()).increment(rows);
                    PAUSE
                }
                Err(cause) => {
                    tracing::warn!(service, table, cause = format!("{cause:#}"), "deleting old rows failed; retrying");
                    RETRY_AFTER
                }
            };
            if self.service.lifecycle.stop_calling.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ended::Stopped;
            }
        }
    }
}

impl Retention {
    /// The next step of a sweep. Answers how many rows it deleted; `None`: the sweep is over.
    async fn step(&self, walk: &mut Option<Walk>) -> anyhow::Result<Option<u64>> {
        let walk = match walk {
            Some(walk) => walk,
            None => walk.insert(self.begin().await?),
        };
        let Some(blocks) = walk.next() else {
            let position = i64::try_from(walk.position()).unwrap_or(0);
            let parameters = [(&self.table.name() as &(dyn ToSql + Sync), Type::TEXT), (&position, Type::INT8)];
            self.role.rows(KEEP_POSITION, &parameters).await?;
            return Ok(None);
        };
        let (deleted, mended) = self.delete(&blocks).await?;
        walk.found(&blocks, deleted);
        Ok(Some(deleted + mended))
    }

    async fn begin(&self) -> anyhow::Result<Walk> {
        let table = format!("towpath.{}", self.table.name());
        let parameters = [(&table as &(dyn ToSql + Sync), Type::TEXT), (&self.table.name(), Type::TEXT)];
        let row = self.role.row(WHERE_IT_IS, &parameters).await?;
        let (blocks, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let cycle = self.table.retention(self.service.limits()) / WALKS_PER_RETENTION;
        let part = (self.every.as_secs_f64() / cycle.as_secs_f64()).min(1.0);
        Ok(Walk::new(blocks.try_into().unwrap_or(0), position.try_into().unwrap_or(0), part))
    }

    /// Answers how many rows it deleted, and of how many it mended the time.
    async fn delete(&self, blocks: &Range<u64>) -> anyhow::Result<(u64, u64)> {
        let now = self.clock.lock().unwrap_or_else(PoisonError::into_inner).now(SystemTime::now(), Instant::now());
        let now =
            now.duration_since(SystemTime::UNIX_EPOCH).context("this machine's clock is before 1970")?.as_secs_f64();
        let age = self.table.retention(self.service.limits()).as_secs_f64();
        let [from, to] = [blocks.start, blocks.end].map(|block| format!("({block},0)"));
        let parameters =
            [(&from as &(dyn ToSql + Sync), Type::TEXT), (&to, Type::TEXT), (&now, Type::FLOAT8), (&age, Type::FLOAT8)];
        let row = self.role.row(&delete_between(self.table.name(), self.table.time()), &parameters).await?;
        let count = |column| row.try_get::<_, i64>(column).map(|rows| u64::try_from(rows).unwrap_or(0));
        Ok((count(0)?, count(1)?))
    }
}
