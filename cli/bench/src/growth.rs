//! Whether the relay's tables grow for ever: units of work with an event, an inbox id and an idempotency key at a steady
//! rate, on a relay that is told to keep everything as briefly as it may. What is deleted must make room for what comes:
//! once the longest retention has passed, the tables and their indexes stay as large as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use hyper::Method;
use tokio_postgres::{Client, NoTls};
use towpath_stack::running::Running;
use uuid::Uuid;

use super::figure::Figure;
use super::line::Line;

/// The service whose tables are looked at.
const SERVICE: &str = "order";
const TABLES: [&str; 3] = ["outbox", "inbox", "idempotency"];
/// Connections that the units of work come over.
const CLIENTS: usize = 16;
/// Moments at which the sizes are taken, evenly over all units of work.
const LOOKS: u64 = 10;
/// Accounts that the units of work touch.
const ACCOUNTS: u64 = 1_000;

/// What the relay is told for it: everything goes as soon as it may.
pub(super) const RELAY_LIMITS: &[(&str, i64)] = &[
    ("outbox_retention_ms", 1_000),
    ("inbox_retention_ms", 60_000),
    ("idempotency_retention_ms", 60_000),
    ("purge_every_ms", 100),
];

/// How much, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Units of work, all together.
    pub(super) units: u64,
    /// Units of work a second.
    pub(super) per_second: u64,
}

/// The sizes at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    table: i64,
    indexes: i64,
    rows: i64,
}

/// Measures it.
pub(super) async fn run(stack: &Running, work: Work) -> Result<Vec<Figure>> {
    let url = stack.postgres_admin_url(SERVICE);
    let (database, connection) = tokio_postgres::connect(&url, NoTls).await.context("cannot reach the database")?;
    tokio::spawn(connection);
    let table = "CREATE TABLE app.bench_growth (id integer PRIMARY KEY, hits bigint NOT NULL) WITH (fillfactor = 50);
                 INSERT INTO app.bench_growth SELECT id, 0 FROM generate_series(0, 999) AS id";
    database.batch_execute(table).await.context("cannot make the table of the benchmark")?;

    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Worker::open(stack, next.clone(), work, began).await?;
        clients.push(tokio::spawn(client.run()));
    }
    let mut clients = tokio::spawn(try_join_all(clients));
    let mut looks = Vec::new();
    for look in 1..=LOOKS {
        while next.load(Ordering::Relaxed) < work.units * look / LOOKS {
            if clients.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        looks.push(sizes(&database).await?);
    }
    for client in (&mut clients).await?? {
        client?;
    }
    let rate = work.units as f64 / began.elapsed().as_secs_f64();
    Ok(TABLES.iter().enumerate().map(|(table, name)| row(name, &looks, table, rate)).collect())
}

fn row(name: &str, looks: &[[Size; 3]], table: usize, rate: f64) -> Figure {
    let mib = |bytes: i64| bytes as f64 / f64::from(1 << 20);
    let total = |size: &Size| mib(size.table + size.indexes);
    let sizes: Vec<_> = looks.iter().map(|look| look[table]).collect();
    let (half, end) = (sizes[sizes.len() / 2 - 1], sizes[sizes.len() - 1]);
    let course: Vec<_> = sizes.iter().map(|size| format!("{:.1}", total(size))).collect();
    let note = format!(
        "at each tenth of the work, {rate:.0} units/s: {} MiB; at the end {:.1} MiB of it indexes, {} rows",
        course.join(", "),
        mib(end.indexes),
        end.rows
    );
    let row = Figure::once(format!("towpath.{name} and its indexes, at the end"), "MiB", total(&end));
    row.beside("its size at half of the work", &[total(&end)], &[total(&half)]).noting(note)
}

async fn sizes(database: &Client) -> Result<[Size; 3]> {
    let mut sizes = [Size::default(); 3];
    for (size, table) in sizes.iter_mut().zip(TABLES) {
        let sql = format!(
            "SELECT pg_table_size('towpath.{table}'), pg_indexes_size('towpath.{table}'), count(*) FROM towpath.{table}"
        );
        let row = database.query_one(&sql, &[]).await?;
        *size = Size { table: row.try_get(0)?, indexes: row.try_get(1)?, rows: row.try_get(2)? };
    }
    Ok(sizes)
}

/// One connection's part of the work.
struct Worker {
    line: Line,
    token: String,
    next: Arc<AtomicU64>,
    work: Work,
    began: Instant,
}

impl Worker {
    async fn open(stack: &Running, next: Arc<AtomicU64>, work: Work, began: Instant) -> Result<Self> {
        let token = format!("Bearer {}", stack.service_token(SERVICE));
        Ok(Self { line: Line::open(&stack.relay).await?, token, next, work, began })
    }

    async fn run(mut self) -> Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.work.units {
                return Ok(());
            }
            let due = Duration::from_secs_f64(number as f64 / self.work.per_second as f64);
            if let Some(wait) = due.checked_sub(self.began.elapsed()) {
                tokio::time::sleep(wait).await;
            }
            let headers = [("content-type", "application/json"), ("authorization", self.token.as_str())];
            self.line.expect(200, Method::POST, "/v1/transactions", &headers, body(number)).await?;
        }
    }
}

fn body(number: u64) -> String {
    let (account, id) = (number % ACCOUNTS, Uuid::new_v4());
    format!(
        r#"{{"steps":[{{"sql":"UPDATE bench_growth SET hits = hits + 1 WHERE id = $1","params":[{account}],"expect":{{"exactly":1}}}}],
           "events":[{{"topic":"order.events","key":"{account}","type":"bench.grown","data":{{"account":{account},"id":"{id}"}}}}],
           "inbox":"{id}","idempotency":{{"key":"{id}","request_hash":"{id}","answer":{{"status":200,"body":{{"id":"{id}"}}}}}}}}"#
    )
}
