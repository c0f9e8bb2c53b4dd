//! Units of work through the relay, beside the same statements by pgbench on the same server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use rand::RngExt;
use tokio_postgres::NoTls;
use towpath_stack::running::Running;

use super::line::Line;
use super::load::{Client, Load, Measured, TURNS};
use super::pgbench;
use super::report::Row;

/// The service whose database and token are used.
const SERVICE: &str = "order";
/// A topic that this service publishes to; nobody subscribes to the type of these events.
const TOPIC: &str = "order.events";
/// Accounts that the units of work touch: enough that they seldom wait for each other.
const ACCOUNTS: u32 = 10_000;
/// From the last unit of work until Kafka has every event.
const DRAIN_DEADLINE: Duration = Duration::from_secs(120);

const TABLES: &str = "
    CREATE TABLE app.bench_accounts (id integer PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 70);
    INSERT INTO app.bench_accounts SELECT id, 0 FROM generate_series(1, 10000) AS id;
    CREATE TABLE app.bench_entries (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account integer NOT NULL, delta bigint NOT NULL);
    ANALYZE app.bench_accounts;";
const UPDATE: &str = "UPDATE bench_accounts SET balance = balance + $2 WHERE id = $1";
const INSERT: &str = "INSERT INTO bench_entries (account, delta) VALUES ($1, $2)";

const SCRIPT: &str = "\\set account random(1, 10000)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE app.bench_accounts SET balance = balance + :delta WHERE id = :account;
INSERT INTO app.bench_entries (account, delta) VALUES (:account, :delta);
COMMIT;
";
/// The same and what the relay does for one event, so that both write the same rows.
const SCRIPT_WITH_EVENT: &str = "\\set account random(1, 10000)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE app.bench_accounts SET balance = balance + :delta WHERE id = :account;
INSERT INTO app.bench_entries (account, delta) VALUES (:account, :delta);
SELECT towpath.outbox_append(ARRAY['order.events'], ARRAY[:account::text], ARRAY[gen_random_uuid()::text],
    ARRAY['bench.moved'], ARRAY[NULL::text], ARRAY['{\"delta\": 1}'], '/order', now(), NULL, NULL);
COMMIT;
";

struct Worker {
    line: Line,
    token: String,
    with_event: bool,
}

impl Worker {
    fn body(&self) -> String {
        let mut random = rand::rng();
        let (account, delta) = (random.random_range(1..=ACCOUNTS), random.random_range(-5000..=5000));
        let events = if self.with_event {
            format!(
                r#","events":[{{"topic":"{TOPIC}","key":"{account}","type":"bench.moved","data":{{"delta":{delta}}}}}]"#
            )
        } else {
            String::new()
        };
        format!(
            r#"{{"steps":[{{"sql":"{UPDATE}","params":[{account},{delta}],"expect":{{"exactly":1}}}},{{"sql":"{INSERT}","params":[{account},{delta}]}}]{events}}}"#
        )
    }
}

impl Client for Worker {
    async fn call(&mut self) -> Result<()> {
        let headers = [("content-type", "application/json"), ("authorization", self.token.as_str())];
        let body = self.body();
        self.line.expect(200, Method::POST, "/v1/transactions", &headers, body).await.map(drop)
    }
}

/// What was measured.
pub(super) struct Units {
    /// Units of work without an event.
    pub(super) plain: Row,
    /// The same with one event each.
    pub(super) with_event: Row,
    /// How fast these events reached Kafka.
    pub(super) published: Row,
}

/// Measures units of work without and with an event, and how fast the events reach Kafka.
pub(super) async fn run(load: Load, stack: &Running) -> Result<Units> {
    let url = stack.postgres_admin_url(SERVICE);
    let (database, connection) = tokio_postgres::connect(&url, NoTls).await.context("cannot reach the database")?;
    tokio::spawn(connection);
    database.batch_execute(TABLES).await.context("cannot make the tables of the benchmark")?;

    let (mut plain, mut by_pgbench) = (Measured::default(), 0.0);
    for _ in 0..TURNS {
        by_pgbench += pgbench::run(load.turn(), &url, SCRIPT).await? / f64::from(TURNS);
        plain = plain.and(load.turn().run(workers(load, stack, false).await?).await?);
    }
    let plain = Row::of("units of work, 2 statements", "units/s", &plain).beside("pgbench", by_pgbench);

    let (mut with_event, mut by_pgbench) = (Measured::default(), 0.0);
    let (mut events, mut left, mut time) = (0, 0, Duration::ZERO);
    for _ in 0..TURNS {
        let before = drained(&database).await?.all;
        let begun = Instant::now();
        with_event = with_event.and(load.turn().run(workers(load, stack, true).await?).await?);
        let outbox = drained(&database).await?;
        (events, left, time) = (events + outbox.all - before, left + outbox.left, time + begun.elapsed());
        by_pgbench += pgbench::run(load.turn(), &url, SCRIPT_WITH_EVENT).await? / f64::from(TURNS);
    }
    drained(&database).await?;
    let with_event = Row::of("units of work, 2 statements and an event", "units/s", &with_event);
    let published =
        Row::new("events, from their unit of work into Kafka", "events/s", events as f64 / time.as_secs_f64())
            .noting(format!("{left} of {events} were still in the outbox when the last units of work were answered"));
    Ok(Units { plain, with_event: with_event.beside("pgbench, same rows", by_pgbench), published })
}

async fn workers(load: Load, stack: &Running, with_event: bool) -> Result<Vec<Worker>> {
    let token = format!("Bearer {}", stack.service_token(SERVICE));
    let mut workers = Vec::new();
    for _ in 0..load.clients {
        workers.push(Worker { line: Line::open(&stack.relay).await?, token: token.clone(), with_event });
    }
    Ok(workers)
}

/// The events of the benchmark in the outbox.
struct Outbox {
    /// How many there are.
    all: i64,
    /// How many were not in Kafka when the wait for them began.
    left: i64,
}

/// Waits until Kafka has all events.
async fn drained(database: &tokio_postgres::Client) -> Result<Outbox> {
    let count = "SELECT count(*), count(*) FILTER (WHERE published_at IS NULL) FROM towpath.outbox
                 WHERE type = 'bench.moved'";
    let (begun, mut first) = (Instant::now(), None);
    loop {
        let row = database.query_one(count, &[]).await?;
        let (all, left): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let first = *first.get_or_insert(left);
        match left {
            0 => return Ok(Outbox { all, left: first }),
            _ if begun.elapsed() > DRAIN_DEADLINE => bail!("{left} of {all} events are still not in Kafka"),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_are_those_of_the_script() {
        let inline = |sql: &str| sql.replace("$1", ":account").replace("$2", ":delta").replace("bench_", "app.bench_");
        for script in [SCRIPT, SCRIPT_WITH_EVENT] {
            assert!(script.contains(&inline(UPDATE)) && script.contains(&inline(INSERT)), "{script}");
        }
        assert!(TABLES.contains(&format!("generate_series(1, {ACCOUNTS})")) && SCRIPT.contains("random(1, 10000)"));
    }
}
