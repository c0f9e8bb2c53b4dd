//! Another session disturbs a database: it ends all connections, or holds a lock for long.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// All connections of the service and of the relay to its database, ended at once. One that is being made meanwhile lives.
pub(super) const TERMINATE: &str = "
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename IN ($1, 'towpath_relay')";

/// Whether another session waits for a lock of this one.
const WAITS: &str =
    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))";

/// Longer than any of the relay's limits.
const HELD: Duration = Duration::from_secs(30);
/// Under load there is always something to lock within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> =
        Service::ALL.into_iter().map(|service| Box::new(BackendsTerminated(service)) as _).collect();
    all.extend([Held::Stock, Held::Order].map(|held| Box::new(RowLocked(held)) as _));
    all
}

/// `pg_terminate_backend` of every connection that Towpath has to one database.
struct BackendsTerminated(Service);

impl Fault for BackendsTerminated {
    fn name(&self) -> String {
        format!("backends-terminated-{}", self.0.name())
    }

    fn group(&self) -> Group {
        Group::Postgres
    }

    fn about(&self) -> String {
        format!("pg_terminate_backend of every connection to the database of {}", self.0.name())
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn blast(&self, _: &Stage) -> Blast {
        Blast::refusing([self.0])
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let service = self.0.name();
            let database = stage.database(self.0).await?;
            let ended: i64 = database.query_one(TERMINATE, &[&format!("{service}_app")]).await?.get(0);
            Ok(Struck::noted(format!("ended {ended} connections to the database of {service}")))
        })
    }
}

/// Another session locks a row that is needed. A waiting statement is ended by `lock_timeout` or by the caller's own
/// patience, and must be told to come back; no event may be lost over it.
struct RowLocked(Held);

/// The row that is locked: the stock that sold best of late, or an order that is on its way.
#[derive(Debug, Clone, Copy)]
enum Held {
    Stock,
    Order,
}

impl Held {
    fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Order => "order",
        }
    }

    fn service(self) -> Service {
        match self {
            Self::Stock => Service::Inventory,
            Self::Order => Service::Order,
        }
    }

    /// Finds the row, waits for it and locks it; answers its name.
    fn lock(self) -> &'static str {
        match self {
            Self::Stock => {
                "SELECT sku FROM app.stock WHERE sku = (
                     SELECT l.sku FROM app.reservation_lines l
                     JOIN app.reservations r ON r.order_id = l.order_id
                     WHERE r.updated_at > now() - interval '1 minute'
                     GROUP BY l.sku ORDER BY count(*) DESC LIMIT 1)
                 FOR UPDATE"
            }
            Self::Order => {
                "SELECT id::text FROM app.orders
                 WHERE status IN ('pending', 'reserved')
                 ORDER BY created_at DESC LIMIT 1
                 FOR UPDATE"
            }
        }
    }
}

impl Fault for RowLocked {
    fn name(&self) -> String {
        format!("row-locked-{}", self.0.name())
    }

    fn group(&self) -> Group {
        Group::Postgres
    }

    fn about(&self) -> String {
        let what = match self.0 {
            Held::Stock => "the stock that sells best",
            Held::Order => "an open order",
        };
        format!("another session locks the row of {what} for {} s", HELD.as_secs())
    }

    fn duration(&self) -> Duration {
        // An event that met the lock again and again comes back after the longest pause between two deliveries.
        HELD + Duration::from_secs(10)
    }

    fn blast(&self, _: &Stage) -> Blast {
        Blast::refusing([self.0.service()])
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(hold(stage, self.0))
    }
}

async fn hold(stage: &Stage, held: Held) -> Result<Struck> {
    let database = stage.database(held.service()).await?;
    let name = held.name();
    database.batch_execute("BEGIN").await?;
    let mut tick = tokio::time::interval(LOOK);
    let row: String = tokio::time::timeout(PATIENCE, async {
        loop {
            tick.tick().await;
            if let Some(row) = database.query_opt(held.lock(), &[]).await? {
                return anyhow::Ok(row.get(0));
            }
        }
    })
    .await
    .with_context(|| format!("there was no {name} to lock for {} s", PATIENCE.as_secs()))??;
    let until = Instant::now() + HELD;
    let (mut looks, mut waited) = (0, 0);
    while Instant::now() < until {
        tick.tick().await;
        looks += 1;
        waited += i32::from(database.query_one(WAITS, &[]).await?.get::<_, bool>(0));
    }
    database.batch_execute("ROLLBACK").await.context("the lock was lost before its time")?;
    let (seconds, percent) = (HELD.as_secs(), waited * 100 / looks);
    Ok(Struck::noted(format!("held the {name} {row} for {seconds} s; {percent} % of the time a session waited for it")))
}
