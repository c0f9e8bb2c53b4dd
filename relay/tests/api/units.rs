//! Units of work and queries over HTTP: their places, their traces, and what a stop does to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use towpath_relay::redis::Space;

use crate::support::{Answer, ServiceSetup, Setup, TestRelay, answer, eventually};

async fn setup(limits: &str) -> Setup {
    let alpha = ServiceSetup::new("alpha").database().publishes("x");
    let setup = Setup::new().service(alpha).declare("x").toml(&format!("[limits]\n{limits}")).databases().await;
    setup.execute("alpha", "CREATE TABLE things (id int PRIMARY KEY, size int NOT NULL DEFAULT 0)").await;
    setup
}

fn insert(id: i32) -> Value {
    json!({"steps": [{"sql": "INSERT INTO things (id) VALUES ($1)", "params": [id]}], "notify": [format!("thing-{id}")]})
}

fn wait_for(id: i32, timeout_ms: u64) -> Value {
    let wait = json!({"keys": [format!("thing-{id}")], "timeout_ms": timeout_ms});
    json!({"sql": "SELECT id FROM things WHERE id = $1", "params": [id], "wait": wait})
}

/// Sends a request without awaiting its answer.
fn send(relay: &TestRelay, path: &str, body: &Value) -> tokio::task::JoinHandle<Answer> {
    tokio::spawn(answer(relay.request("alpha", "POST", path).json(body)))
}

/// Until somebody, or nobody, waits for a thing on this relay.
async fn waits(relay: &TestRelay, id: i32, somebody: bool) {
    let wakeups = &relay.running.relay.wakeups;
    let key = format!("thing-{id}");
    eventually("the wait", async || match wakeups.is_awaited(Space::Service, "alpha", &key) {
        waits if waits == somebody => Ok(()),
        waits => Err(waits),
    })
    .await;
}

#[tokio::test]
async fn a_wait_on_one_relay_ends_by_a_commit_on_another() {
    // Nobody looks by himself before the test is over.
    let setup = setup("wait_look_ms = 600000\nwait_timeout_ms = 600000").await;
    let (one, other) = (setup.start().await, setup.start().await);
    for id in 0..5 {
        let waiting = send(&one, "/v1/queries", &wait_for(id, 600_000));
        waits(&one, id, true).await;
        assert_eq!(other.transaction("alpha", insert(id)).await.status, 200);
        let found = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it is woken").unwrap();
        assert_eq!((&found.body["rows"], &found.body["timed_out"]), (&json!([[id]]), &json!(false)), "{found:?}");
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn waiting_queries_have_places_of_their_own() {
    let setup = setup("requests_in_flight = 1\nwaiting_queries = 1").await;
    let relay = setup.start().await;
    let waiting = send(&relay, "/v1/queries", &wait_for(1, 20_000));
    waits(&relay, 1, true).await;
    let second = relay.query("alpha", wait_for(2, 1)).await;
    assert_eq!((second.status, second.code(), second.header("retry-after")), (503, "overloaded", "1"), "{second:?}");
    assert!(second.body["detail"].as_str().unwrap().contains("limits.waiting_queries"), "{second:?}");
    // The one that waits takes no place from the others.
    assert_eq!(relay.transaction("alpha", insert(1)).await.status, 200);
    assert_eq!(waiting.await.unwrap().status, 200);
    eventually("the place is free", async || {
        let third = relay.query("alpha", wait_for(2, 1)).await;
        if third.body["timed_out"] == true { Ok(()) } else { Err(third) }
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn a_caller_who_goes_away_waits_no_longer() {
    let setup = setup("").await;
    let relay = setup.start().await;
    let waiting = send(&relay, "/v1/queries", &wait_for(1, 20_000));
    waits(&relay, 1, true).await;
    waiting.abort();
    waits(&relay, 1, false).await;
    relay.stop().await;
}

/// A unit that waits for a lock of the test's, until `release`.
async fn held_unit(setup: &Setup, relay: &TestRelay) -> (tokio_postgres::Client, tokio::task::JoinHandle<Answer>) {
    let admin = Arc::new(setup.admin("alpha").await);
    // Apart: a BEGIN within one message would take in what stands before it.
    admin.batch_execute("INSERT INTO app.things VALUES (1)").await.unwrap();
    admin.batch_execute("BEGIN; UPDATE app.things SET size = 1").await.unwrap();
    let unit = json!({"steps": [{"sql": "UPDATE things SET size = 2 WHERE id = 1", "expect": {"exactly": 1}}]});
    let running = send(relay, "/v1/transactions", &unit);
    let watcher = setup.admin("alpha").await;
    eventually("the unit waits for the lock", async || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = watcher.query_one(sql, &[]).await.unwrap().get(0);
        if waiting > 0 { Ok(()) } else { Err(()) }
    })
    .await;
    (Arc::into_inner(admin).expect("one owner"), running)
}

async fn size(setup: &Setup) -> i32 {
    setup.admin("alpha").await.query_one("SELECT size FROM app.things WHERE id = 1", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_unit_in_flight_is_finished_and_answered_before_the_relay_stops() {
    let setup = setup("").await;
    let relay = setup.start().await;
    let (holder, unit) = held_unit(&setup, &relay).await;
    let life = relay.running.relay.lifecycle.clone();
    let stopping = tokio::spawn(relay.stop());
    life.stop_taking.cancelled().await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(unit.await.unwrap().status, 200);
    assert!(stopping.await.unwrap(), "everything ended by itself");
    assert_eq!(size(&setup).await, 2);
}

#[tokio::test]
async fn a_unit_goes_on_when_its_connection_breaks() {
    let setup = setup("").await;
    let relay = setup.start().await;
    let (holder, unit) = held_unit(&setup, &relay).await;
    unit.abort();
    let requests = relay.running.relay.services["alpha"].requests.clone();
    eventually("its caller is gone", async || if requests.available_permits() == 256 { Ok(()) } else { Err(()) }).await;
    holder.batch_execute("COMMIT").await.unwrap();
    eventually("it committed", async || match size(&setup).await {
        2 => Ok(()),
        size => Err(size),
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn a_unit_that_does_not_end_is_rolled_back_at_the_deadline() {
    let setup = setup("").await;
    let mut config = setup.config("one");
    config.relay.shutdown_deadline = Duration::from_millis(300);
    let relay = setup.start_with(config).await;
    let (holder, unit) = held_unit(&setup, &relay).await;
    let began = Instant::now();
    assert!(!relay.stop().await);
    assert!(began.elapsed() < Duration::from_secs(10), "by its own deadline, not the default: {:?}", began.elapsed());
    holder.batch_execute("ROLLBACK").await.unwrap();
    unit.abort();
    assert_eq!(size(&setup).await, 0, "nothing of it remains");
}

#[tokio::test]
async fn an_event_carries_the_trace_of_its_request() {
    let setup = setup("").await;
    let relay = setup.start().await;
    let event = json!({"topic": setup.topic("x"), "key": "k", "type": "x.made", "data": {}});
    let ours = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = relay.request("alpha", "POST", "/v1/transactions").json(&json!({"events": [event]}));
    let request = request.header("traceparent", "00-11111111111111111111111111111111-2222222222222222-01");
    assert_eq!(answer(request.header("towpath-traceparent", ours).header("tracestate", "a=1")).await.status, 200);
    assert_eq!(relay.transaction("alpha", json!({"events": [event]})).await.status, 200);
    let rows =
        setup.admin("alpha").await.query("SELECT traceparent, tracestate FROM towpath.outbox ORDER BY seq", &[]).await;
    let traces: Vec<(String, Option<String>)> = rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(traces[0], (ours.to_owned(), Some("a=1".to_owned())));
    assert_eq!((traces[1].0.len(), &traces[1].1), (55, &None), "who brings none begins one");
    relay.stop().await;
}
