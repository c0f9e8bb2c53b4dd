//! How many units of work per second the relay runs against a PostgreSQL, without HTTP around it.
//!
//! `TOWPATH_TEST_POSTGRES=postgres://... cargo run --release -p towpath-relay --example units -- 16 5`: 16 clients for
//! 5 seconds, each unit two statements: an UPDATE and an INSERT. Prints the same of `pgbench`, where it is installed.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use towpath_relay::config::Config;
use towpath_relay::state::{Relay, Service};
use towpath_relay::telemetry::TraceContext;
use towpath_relay::{migrate, transaction};

const TABLES: &str = "SET search_path TO app;
    CREATE TABLE accounts (id int PRIMARY KEY, balance int8 NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE history (account int, delta int8, at timestamptz DEFAULT now());
    INSERT INTO accounts SELECT n, 0 FROM generate_series(1, 100000) AS n";
const UPDATE: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
const INSERT: &str = "INSERT INTO history (account, delta) VALUES ($1, $2)";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Expecting,
    Event,
    Everything,
}

fn unit(kind: Kind) -> Value {
    let (account, delta) = (rand::random_range(1..=100_000), rand::random_range(-5000..5000));
    let mut unit = json!({"steps": [
        {"sql": UPDATE, "params": [delta, account]},
        {"sql": INSERT, "params": [account, delta]},
    ]});
    if kind != Kind::Plain {
        unit["steps"][0]["expect"] = json!({"exactly": 1});
    }
    if kind == Kind::Event || kind == Kind::Everything {
        let data = json!({"account": account, "delta": delta});
        unit["events"] = json!([{"topic": "x", "key": account.to_string(), "type": "t", "data": data}]);
    }
    if kind == Kind::Everything {
        unit["inbox"] = json!(uuid::Uuid::now_v7().to_string());
        unit["idempotency"] =
            json!({"key": uuid::Uuid::now_v7().to_string(), "request_hash": "h", "answer": {"ok": true}});
    }
    unit
}

async fn measure(service: &Arc<Service>, kind: Kind, clients: usize, time: Duration) -> anyhow::Result<u64> {
    let done = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (service, done) = (Arc::clone(service), Arc::clone(&done));
            tokio::spawn(async move {
                while Instant::now() < until {
                    let request = serde_json::from_value(unit(kind))?;
                    transaction::run(&service, request, TraceContext::begin()).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed))
}

fn pgbench(url: &str, clients: usize, seconds: u64) -> anyhow::Result<String> {
    let script = std::env::temp_dir().join("towpath-units.pgbench");
    std::fs::write(
        &script,
        "\\set id random(1, 100000)\n\\set delta random(-5000, 5000)\nBEGIN;\n\
         UPDATE app.accounts SET balance = balance + :delta WHERE id = :id;\n\
         INSERT INTO app.history (account, delta) VALUES (:id, :delta);\nCOMMIT;\n",
    )?;
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients, "-T", &seconds, "-f"])
        .arg(&script)
        .arg(url)
        .output()
        .context("pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().find(|line| line.starts_with("tps")).unwrap_or(&text).to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let clients: usize = arguments.next().map_or(Ok(16), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let admin = std::env::var("TOWPATH_TEST_POSTGRES").context("TOWPATH_TEST_POSTGRES isn't set")?;
    let name = format!("units_{}", uuid::Uuid::now_v7().simple());
    let mut url = reqwest::Url::parse(&admin)?;
    url.set_path(&name);
    let admin_url = url.to_string();
    let role = |user: &str| -> anyhow::Result<String> {
        let mut url = url.clone();
        url.set_username(user)
            .and_then(|()| url.set_password(Some("test")))
            .map_err(|()| anyhow::anyhow!("no user"))?;
        Ok(url.into())
    };
    let (app, relay) = (role(&format!("{name}_app"))?, role(&format!("{name}_relay"))?);
    let text = format!(
        "[relay]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[redis]\nurl = \"redis://127.0.0.1:1\"\n\
         [kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.topics.x]\npartitions = 1\nreplication_factor = 1\n\
         [services.alpha]\ntoken = \"0123456789abcdef0123456789abcdef\"\n[services.alpha.publish]\ntopics = [\"x\"]\n\
         [services.alpha.postgres]\nurl = \"{app}\"\nrelay_url = \"{relay}\"\nadmin_url = \"{admin_url}\"\npool_size = {clients}\n"
    );
    let config = Config::parse("units", &text, Path::new("."), &|_| None)?;
    migrate::run(&config).await?;
    let (client, connection) = tokio_postgres::connect(&admin_url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(TABLES).await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    let relay = Relay::new(config)?;
    let service = &relay.services["alpha"];
    println!("pgbench              {}", pgbench(&admin_url, clients, seconds)?);
    for (name, kind) in [
        ("two statements       ", Kind::Plain),
        ("with an expectation  ", Kind::Expecting),
        ("and an event         ", Kind::Event),
        ("and both claims      ", Kind::Everything),
    ] {
        let done = measure(service, kind, clients, Duration::from_secs(seconds)).await?;
        println!("{name}{} units per second", done / seconds);
    }
    println!("pgbench              {}", pgbench(&admin_url, clients, seconds)?);
    service.database()?.close();
    drop(client);
    let (client, connection) = tokio_postgres::connect(&admin, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    client.batch_execute(&format!("DROP ROLE {name}_app; DROP ROLE {name}_relay")).await?;
    Ok(())
}
