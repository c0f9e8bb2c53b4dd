//! Relays as processes of their own: stalled, and killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::kafka::{key_and_number, records, records_now};
use crate::shards::shared;
use crate::subscriber::{Heard, Subscriber};
use crate::support::{Setup, eventually, send_signal};
use crate::weight::fill;
use crate::{TOPIC, assert_same, by_key, event, in_order, publishing, say_numbers, subscribing};

struct Relay {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    config: PathBuf,
    url: String,
}

impl Relay {
    async fn start(setup: &Setup, instance: &str) -> Self {
        let config = std::env::temp_dir().join(format!("{}-{instance}.toml", setup.id));
        std::fs::write(&config, setup.text(instance)).expect("writes");
        let mut command = Command::new(env!("CARGO_BIN_EXE_towpath-relay"));
        command.args(["run", "--config"]).arg(&config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let mut relay = Self { child, lines, config, url: String::new() };
        let line = relay.says(|line| line["message"] == "the relay is listening").await;
        relay.url = format!("http://{}", line["address"].as_str().expect("an address"));
        relay
    }

    /// Reads its log until a line is as wanted.
    async fn says(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let reading = async {
            loop {
                let line = self.lines.next_line().await.expect("reads").expect("it goes on");
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if wanted(&line) {
                    return line;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("it says so within 30 s")
    }

    fn signal(&self, signal: Signal) {
        send_signal(self.child.id().expect("it runs"), signal);
    }

    /// The memory that it has in use, in MiB.
    fn resident_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().expect("it runs"));
        let status = std::fs::read_to_string(path).expect("Linux says so");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") >> 10
    }

    async fn say(&self, setup: &Setup, keys: usize, n: usize) {
        let events: Vec<Value> = (0..keys).map(|key| event(setup, &format!("key-{key}"), n)).collect();
        let request = reqwest::Client::new().post(format!("{}/v1/transactions", self.url));
        let request = request.bearer_auth(setup.token("alpha")).json(&json!({"events": events}));
        assert_eq!(request.send().await.expect("it answers").status(), 200);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// Stops processes at moments that nobody chose, again and again: whatever a stalled relay had begun, its successor has
/// done, and it adds nothing when it wakes up.
#[tokio::test]
async fn a_stalled_relay_that_wakes_up_publishes_nothing_that_another_took_over() {
    const KEYS: usize = 32;
    const LEASE: Duration = Duration::from_secs(5);
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, &format!("lease_ms = {}", LEASE.as_millis())).await;
    let steady = Relay::start(&setup, "steady").await;
    let mut stalled = Relay::start(&setup, "stalled").await;
    shared(&setup, &[8, 8]).await;
    let mut n = 0;
    for _ in 0..3 {
        for _ in 0..5 {
            steady.say(&setup, KEYS, n).await;
            n += 1;
        }
        stalled.signal(Signal::STOP);
        let began = Instant::now();
        for _ in 0..5 {
            steady.say(&setup, KEYS, n).await;
            n += 1;
        }
        records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * n).await;
        assert!(began.elapsed() < LEASE * 2, "taken over after {:?}", began.elapsed());
        shared(&setup, &[16]).await;
        stalled.signal(Signal::CONT);
        stalled.says(|line| line["message"] == "publishing the outbox").await;
        shared(&setup, &[8, 8]).await;
    }
    steady.say(&setup, KEYS, n).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * (n + 1)).await;
    let seen = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, n + 1));
    subscriber.accepts_all(&in_order(KEYS, n + 1)).await;
}

#[tokio::test]
async fn a_stalled_relay_that_wakes_up_delivers_nothing_that_another_took_over() {
    use axum::response::IntoResponse;
    use http::StatusCode;
    const KEYS: usize = 16;
    let subscriber = Subscriber::start().await;
    // The lanes of both are full of events that wait.
    subscriber.answer_status(StatusCode::SERVICE_UNAVAILABLE);
    let setup =
        subscribing(&subscriber.url, "lease_ms = 1500\ndelivery_backoff_ms = 50\ndelivery_backoff_max_ms = 100").await;
    let steady = Relay::start(&setup, "steady").await;
    let mut stalled = Relay::start(&setup, "stalled").await;
    stalled.says(|line| line["message"] == "Kafka assigned partitions" && line["service"] == "beta").await;
    for n in 0..5 {
        steady.say(&setup, KEYS, n).await;
    }
    eventually("every key waits", async || {
        let calls = subscriber.calls();
        let keys: std::collections::BTreeSet<String> = calls.into_iter().map(|call| call.key).collect();
        if keys.len() == KEYS { Ok(()) } else { Err(keys) }
    })
    .await;
    stalled.signal(Signal::STOP);
    subscriber.answer(|_: Heard| async { StatusCode::NO_CONTENT.into_response() });
    // The steady one takes everything over, once the stalled one's session has ended.
    subscriber.accepts_all(&in_order(KEYS, 5)).await;
    let accepted = subscriber.accepted().len();
    stalled.signal(Signal::CONT);
    stalled.says(|line| line["message"] == "Kafka assigned partitions" && line["service"] == "beta").await;
    for n in 5..8 {
        steady.say(&setup, KEYS, n).await;
    }
    subscriber.accepts_all(&in_order(KEYS, 8)).await;
    assert_eq!(subscriber.accepted().len(), accepted + KEYS * 3, "the stalled one delivered nothing twice");
}

#[tokio::test]
async fn killed_at_any_moment_nothing_is_lost_doubled_or_out_of_order() {
    const KEYS: usize = 16;
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "lease_ms = 1500").await;
    let steady = setup.start().await;
    let killed = AtomicBool::new(false);
    let killing = async {
        for round in 0..5_u64 {
            let mut other = Relay::start(&setup, &format!("killed-{round}")).await;
            other.says(|line| line["message"] == "the shards of the outbox that this relay publishes changed").await;
            // Somewhere in its work.
            let seen = subscriber.calls().len();
            subscriber.hears(seen + 7 * round as usize).await;
            other.signal(Signal::KILL);
            let _ = other.child.wait().await;
        }
        killed.store(true, Ordering::SeqCst);
    };
    let speaking = async {
        let mut n = 0;
        while !killed.load(Ordering::SeqCst) {
            say_numbers(&setup, &steady, KEYS, n, 1).await;
            n += 1;
        }
        n
    };
    let (said, ()) = tokio::join!(speaking, killing);
    let expected = in_order(KEYS, said);
    records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * said).await;
    let seen = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &expected);
    subscriber.accepts_all(&expected).await;
}

/// A long outage of Kafka has filled the outbox: one batch at a time is in memory, however many wait.
#[tokio::test]
async fn memory_stays_flat_while_a_full_outbox_is_published() {
    let events: i32 = std::env::var("TOWPATH_TEST_WAITING").map_or(Ok(200_000), |text| text.parse()).expect("a number");
    // It looks at its leases twice a second, in between batches that are full.
    let setup = publishing("lease_ms = 1500").await;
    let admin = setup.admin("alpha").await;
    fill(&setup, &admin, events, 400).await;
    let relay = Relay::start(&setup, "drains").await;
    let mut seen: Vec<(i64, u64)> = Vec::new();
    let mut left = i64::from(events);
    // Each tenth is waited for by itself, so that a slow machine has time for all of it.
    while left > 0 {
        let next = left - i64::from(events) / 10;
        left = eventually("events leave", async || {
            let sql = "SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL";
            let now: i64 = admin.query_one(sql, &[]).await.expect("counts").get(0);
            if now <= next.max(0) { Ok(now) } else { Err(now) }
        })
        .await;
        seen.push((left, relay.resident_mib()));
    }
    println!("events left, and MiB in use: {seen:?}");
    let (first, last) = (seen[1].1, seen[seen.len() - 1].1);
    assert!(last <= first + 24, "it grows: {seen:?}");
}
