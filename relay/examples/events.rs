//! How fast events travel: from a commit to a component, and in bulk; beside Kafka's own producer on the same broker.
//!
//! With `TOWPATH_TEST_POSTGRES`, `TOWPATH_TEST_KAFKA` and `TOWPATH_TEST_REDIS` set, and `TOWPATH_KAFKA_LIB` naming the
//! folder of Kafka's jars: `cargo run --release -p towpath-relay --example events -- 100000`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;
use support::{ServiceSetup, Setup, TestRelay};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use towpath_relay::telemetry::TraceContext;
use towpath_relay::transaction;

const TOPIC: &str = "speed";
const RECORD_BYTES: usize = 500;

/// A component that accepts everything and says when.
async fn hearer() -> (String, Arc<AtomicUsize>, mpsc::UnboundedReceiver<Instant>) {
    let (count, (heard, hears)) = (Arc::new(AtomicUsize::new(0)), mpsc::unbounded_channel());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let state = (Arc::clone(&count), heard);
    let handle = async |State((count, heard)): State<(Arc<AtomicUsize>, mpsc::UnboundedSender<Instant>)>, _: Bytes| {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = heard.send(Instant::now());
        StatusCode::NO_CONTENT
    };
    let app = Router::new().fallback(handle).with_state(state);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, count, hears)
}

async fn setup(component: Option<&str>, limits: &str) -> Setup {
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    let mut setup = Setup::new().service(alpha).declare(TOPIC).toml(&format!("[limits]\n{limits}"));
    if let Some(component) = component {
        let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(speed)\"\nroute = \"/events\"";
        setup = setup.service(ServiceSetup::new("beta").component(component).toml(subscription));
    }
    setup.databases().await
}

async fn say(relay: &TestRelay, topic: &str, key: usize) {
    let data = json!({"text": "x".repeat(RECORD_BYTES)});
    let event = json!({"topic": topic, "key": key.to_string(), "type": "t", "data": data});
    let unit = serde_json::from_value(json!({"events": [event]})).expect("a unit of work");
    let service = &relay.running.relay.services["alpha"];
    transaction::run(service, unit, TraceContext::begin()).await.expect("commits");
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at(50), at(90), at(99));
}

/// One event at a time: from before its unit of work, and from after its commit, to the component.
async fn latency() {
    let (url, _, mut hears) = hearer().await;
    let setup = setup(Some(&url), "").await;
    let (relay, topic) = (setup.start().await, setup.topic(TOPIC));
    for _ in 0..50 {
        say(&relay, &topic, 0).await;
        hears.recv().await;
    }
    for pause_ms in [0, 20] {
        let (mut whole, mut after) = (Vec::new(), Vec::new());
        for key in 0..500 {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let began = Instant::now();
            say(&relay, &topic, key).await;
            let committed = Instant::now();
            let heard = hears.recv().await.expect("it is heard");
            whole.push(heard - began);
            after.push(heard.saturating_duration_since(committed));
        }
        percentiles(&format!("unit of work to component, {pause_ms} ms apart"), whole);
        percentiles(&format!("commit to component, {pause_ms} ms apart"), after);
    }
    relay.stop().await;
}

/// Fills the outbox as units of work would have, while no relay runs.
async fn fill(setup: &Setup, count: usize) {
    let sql = "INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data)
        SELECT hashtextextended($1 || n % 1000, 0) & 15, $1, (n % 1000)::text, gen_random_uuid()::text, 't', '/alpha',
               now(), format('{\"n\": %s, \"text\": \"%s\"}', n, repeat('x', $2))
        FROM generate_series(1, $3) AS n";
    let admin = setup.admin("alpha").await;
    let (bytes, rows) = (RECORD_BYTES as i32, count as i32);
    admin.execute(sql, &[&setup.topic(TOPIC), &bytes, &rows]).await.expect("fills the outbox");
    admin.batch_execute("ANALYZE towpath.outbox").await.expect("analyses");
}

async fn until_published(setup: &Setup) {
    let admin = setup.admin("alpha").await;
    loop {
        let sql = "SELECT EXISTS (SELECT FROM towpath.outbox WHERE published_at IS NULL)";
        if !admin.query_one(sql, &[]).await.expect("counts").get::<_, bool>(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

async fn bulk(count: usize, batch: usize) -> f64 {
    let setup = setup(None, &format!("outbox_batch = {batch}")).await;
    fill(&setup, count).await;
    let before = resident_mb();
    let relay = setup.start().await;
    let admin = setup.admin("alpha").await;
    while !admin
        .query_one("SELECT EXISTS (SELECT FROM towpath.outbox WHERE published_at IS NOT NULL)", &[])
        .await
        .expect("looks")
        .get::<_, bool>(0)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    until_published(&setup).await;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let grew = resident_mb() - before;
    println!("outbox to Kafka, batches of {batch}: {rate:.0} events/s; memory grew by {grew:.0} MB meanwhile");
    relay.stop().await;
    rate
}

async fn through(count: usize) {
    let (url, heard, _hears) = hearer().await;
    let setup = setup(Some(&url), "").await;
    fill(&setup, count).await;
    let relay = setup.start().await;
    while heard.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    while heard.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "outbox through Kafka to a component over HTTP: {:.0} events/s",
        count as f64 / began.elapsed().as_secs_f64()
    );
    relay.stop().await;
}

/// Kafka's own producer on the same broker: the rate that it prints last.
fn kafkas_own(setup: &Setup, count: usize, further: &[&str]) -> Option<f64> {
    let lib = std::env::var("TOWPATH_KAFKA_LIB").ok()?;
    let (records, bytes) = (count.to_string(), RECORD_BYTES.to_string());
    let servers = format!("bootstrap.servers={}", setup.servers.kafka);
    let output = Command::new("java")
        .args(["-cp", &format!("{lib}/*"), "org.apache.kafka.tools.ProducerPerformance", "--throughput", "-1"])
        .args(["--topic", &setup.topic(TOPIC), "--num-records", &records, "--record-size", &bytes])
        .args(further)
        .args(["--command-property", &servers, "acks=all", "linger.ms=0", "enable.idempotence=true"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().rev().find(|line| line.contains("records/sec"))?;
    let rate = last.split(',').nth(1)?.trim().split(' ').next()?.parse().ok();
    println!("ProducerPerformance {}: {}", further.join(" "), last.trim());
    rate
}

#[tokio::main]
async fn main() {
    let count = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(100_000);
    latency().await;
    let mut best = 0.0_f64;
    for batch in [500, 2000] {
        best = best.max(bulk(count, batch).await);
    }
    through(count / 2).await;
    let setup = setup(None, "").await;
    let relay = setup.start().await;
    say(&relay, &setup.topic(TOPIC), 0).await;
    until_published(&setup).await;
    for further in [&[][..], &["--transaction-duration-ms", "10"]] {
        if let Some(own) = kafkas_own(&setup, count * 3, further) {
            println!("the outbox is {:.2} of that", best / own);
        }
    }
    relay.stop().await;
}
