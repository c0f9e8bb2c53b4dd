//! What a unit of work makes old is not found in the cache after it: not where its relay dies after COMMIT, not where nobody
//! knows its outcome, not where it had committed before.

use std::sync::Arc;

use serde_json::{Value, json};
use towpath_fault_proxy::{Fate, PostgresMessage, Proxy, Tcp};
use towpath_relay::config::Secret;
use towpath_relay::{Relay, Service};
use towpath_wire::Code;

use super::gate::{AT_THE_GATE, Gate, PATIENT};
use super::support::eventually;
use super::{Work, look, relay, run};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, price int); INSERT INTO t VALUES (1, 10)";

fn price() -> Value {
    json!({"sql": "SELECT price FROM t", "cache": {"ttl_ms": 600_000, "tags": ["t"]}})
}

fn change(price: i32) -> Value {
    json!({"sql": "UPDATE t SET price = $1", "params": [price]})
}

/// Asks until the answer comes from the cache, which it must be the right one for.
async fn cached(service: &Arc<Service>, price_now: i32) {
    eventually("the cache answers", async || {
        let answer = look(service, price()).await.expect("an answer");
        assert_eq!(answer.rows, [[json!(price_now)]], "cached: {}", answer.cached);
        if answer.cached { Ok(()) } else { Err("the database") }
    })
    .await;
}

/// Another relay of the same services, which reaches all servers.
fn another(work: &Work) -> Arc<Relay> {
    relay(work.setup.config("another"))
}

fn alpha(relay: &Relay) -> Arc<Service> {
    Arc::clone(&relay.services["alpha"])
}

#[tokio::test]
async fn a_retry_that_was_done_before_invalidates_its_tags_again() {
    let work = Work::new(TABLE).await;
    let service = work.service();
    for name in ["inbox", "idempotency"] {
        let mut unit = json!({"steps": [change(20)], "invalidate": ["t"]});
        unit[name] =
            if name == "inbox" { json!("event-1") } else { json!({"key": "key-1", "request_hash": "h", "answer": 1}) };
        work.run(unit.clone()).await.expect("it commits");
        cached(&service, 20).await;
        // As if the first had died before it could invalidate anything.
        work.setup.execute("alpha", "UPDATE t SET price = 30").await;
        cached(&service, 20).await;
        let again = work.run(unit).await.expect("it is known");
        assert!(again.duplicate || again.replayed, "{name}");
        cached(&service, 30).await;
        work.setup.execute("alpha", "UPDATE t SET price = 10").await;
        work.run(json!({"invalidate": ["t"]})).await.expect("it commits");
    }
}

/// The relay that commits is cut off from Redis and never comes back; nobody repeats its request.
#[tokio::test]
async fn a_relay_that_dies_after_commit_leaves_no_old_value_to_others() {
    let work = Work::with(PATIENT, TABLE).await;
    let redis = reqwest::Url::parse(&work.setup.servers.redis).expect("a URL");
    let redis = redis.socket_addrs(|| Some(6379)).expect("an address")[0];
    let line = Proxy::<Tcp>::before(&redis.to_string()).await.expect("a port");
    let mut config = work.setup.config("dying");
    config.redis.url = Secret::new(line.instead_of(&work.setup.servers.redis));
    let dying = relay(config);
    let living = another(&work);
    cached(&alpha(&living), 10).await;
    eventually("it reaches Redis", async || if dying.redis.is_up() { Ok(()) } else { Err(()) }).await;

    let gate = Gate::close(&work).await;
    let unit = json!({"steps": [change(20), {"sql": AT_THE_GATE}], "invalidate": ["t"]});
    let service = alpha(&dying);
    let (ended, ()) = tokio::join!(run(&service, unit), async {
        gate.reached_by(1).await;
        eventually("it has announced what it invalidates", async || {
            let answer = look(&alpha(&living), price()).await.expect("an answer");
            if answer.cached { Err(answer) } else { Ok(()) }
        })
        .await;
        line.shut();
        gate.open().await;
    });
    ended.expect("Redis doesn't keep it from committing");
    dying.lifecycle.forced.cancel();
    for _ in 0..20 {
        let answer = look(&alpha(&living), price()).await.expect("an answer");
        assert_eq!((answer.rows, answer.cached), (vec![vec![json!(20)]], false));
    }
}

#[tokio::test]
async fn where_the_outcome_is_unknown_no_old_value_is_found() {
    let (proxy, work) = Work::behind_a_proxy("outcome_timeout_ms = 500", TABLE).await;
    // Past the proxy.
    let other = another(&work);
    cached(&alpha(&other), 10).await;
    proxy.once(0, Fate::UnansweredForGood, PostgresMessage::commits);
    work.refused(Code::OutcomeUnknown, json!({"steps": [change(20)], "invalidate": ["t"]})).await;
    eventually("it has committed", async || match work.see("SELECT price FROM t").await.as_str() {
        "20" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    for _ in 0..20 {
        let answer = look(&alpha(&other), price()).await.expect("an answer");
        assert_eq!((answer.rows, answer.cached), (vec![vec![json!(20)]], false));
    }
}

#[tokio::test]
async fn a_unit_that_changes_nothing_stops_nobody_from_caching() {
    let work = Work::new(TABLE).await;
    let service = work.service();
    cached(&service, 10).await;
    let unmet = json!({"sql": "UPDATE t SET price = 1 WHERE id = 2", "expect": {"exactly": 1}});
    work.refused(Code::ExpectationFailed, json!({"steps": [unmet], "invalidate": ["t"]})).await;
    cached(&service, 10).await;
}
