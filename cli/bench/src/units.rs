//! Units of work through the relay, beside the same statements by pgbench on the same server.

use anyhow::{Context, Result};
use hyper::Method;
use rand::RngExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Statement};
use towpath_stack::running::Running;

use super::cost::Meter;
use super::events::{self, TOPIC};
use super::figure::Figure;
use super::line::Line;
use super::load::{self, Client};
use super::number::readable;
use super::pgbench::{self, Until};
use super::plan::{Plan, Rounds};

/// The service whose database and token are used.
const SERVICE: &str = "order";
/// Accounts that the units of work touch: enough that they seldom wait for each other.
const ACCOUNTS: u32 = 10_000;

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
        let (account, delta) = random();
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

/// Measures units of work without and with an event, and what the relay adds to one alone.
pub(super) async fn run(plan: &Plan, stack: &Running, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    let url = stack.postgres_admin_url(SERVICE);
    let (database, connection) = tokio_postgres::connect(&url, NoTls).await.context("cannot reach the database")?;
    tokio::spawn(connection);
    database.batch_execute(TABLES).await.context("cannot make the tables of the benchmark")?;
    let mut figures = alone(plan, stack, &url).await?;
    for &clients in &plan.clients {
        for (with_event, name, script) in
            [(false, "2 statements", SCRIPT), (true, "2 statements and an event", SCRIPT_WITH_EVENT)]
        {
            let (mut bare, mut rounds) = (Vec::new(), Rounds::default());
            let mut ours = load::closed(plan.warm_up(), workers(clients, stack, with_event).await?).await?.1;
            for _ in 0..plan.rounds {
                bare.push(pgbench::run(clients, Until::Over(plan.time), &url, script).await?);
                events::drained(&database).await?;
                ours = rounds.run(meter, plan.time, ours).await?;
                events::drained(&database).await?;
            }
            let figure = Figure::of(format!("units of work, {name}, {clients} clients"), "units/s", &rounds.per_second);
            let figure = figure.beside("pgbench, same rows", &rounds.per_second, &bare);
            figures.push(figure.taking(rounds.latency()).costing(rounds.cost()));
        }
    }
    Ok(figures)
}

/// One unit of work at a time, through the relay and by a connection of our own to the database.
async fn alone(plan: &Plan, stack: &Running, url: &str) -> Result<Vec<Figure>> {
    let (mut ours, mut bare) = (workers(1, stack, false).await?, vec![Direct::open(url).await?]);
    let (mut through_relay, mut direct) = (Rounds::default(), Rounds::default());
    (ours, bare) = (load::closed(plan.warm_up(), ours).await?.1, load::closed(plan.warm_up(), bare).await?.1);
    for _ in 0..plan.rounds {
        let (measured, back) = load::closed(plan.time, bare).await?;
        direct.add(&measured);
        bare = back;
        let (measured, back) = load::closed(plan.time, ours).await?;
        through_relay.add(&measured);
        ours = back;
    }
    let (with, without) = (through_relay.latency(), direct.latency());
    let added = |name: &str, with: f64, without: f64| {
        Figure::once(format!("added by the relay to one unit of work alone, {name}"), "ms", with - without)
            .noting(format!("{} ms through the relay, {} ms without", readable(with), readable(without)))
    };
    Ok(vec![added("p50", with.p50_ms, without.p50_ms), added("p99", with.p99_ms, without.p99_ms)])
}

async fn workers(clients: usize, stack: &Running, with_event: bool) -> Result<Vec<Worker>> {
    let token = format!("Bearer {}", stack.service_token(SERVICE));
    let mut workers = Vec::new();
    for _ in 0..clients {
        workers.push(Worker { line: Line::open(&stack.relay).await?, token: token.clone(), with_event });
    }
    Ok(workers)
}

/// The same statements over a connection of its own: prepared once, sent together.
struct Direct {
    client: tokio_postgres::Client,
    update: Statement,
    insert: Statement,
}

impl Direct {
    async fn open(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot reach the database")?;
        tokio::spawn(connection);
        client.batch_execute("SET search_path = app").await?;
        let (update, insert) = (client.prepare(UPDATE).await?, client.prepare(INSERT).await?);
        Ok(Self { client, update, insert })
    }
}

impl Client for Direct {
    async fn call(&mut self) -> Result<()> {
        let (account, delta) = random();
        let unit = self.client.transaction().await?;
        let (account, delta): (i32, i64) = (account.try_into()?, delta.into());
        let (update, insert): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 2]) =
            ([&account, &delta], [&account, &delta]);
        let (updated, inserted) =
            tokio::join!(unit.execute(&self.update, &update), unit.execute(&self.insert, &insert));
        updated?;
        inserted?;
        unit.commit().await?;
        Ok(())
    }
}

fn random() -> (u32, i32) {
    let mut random = rand::rng();
    (random.random_range(1..=ACCOUNTS), random.random_range(-5000..=5000))
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
