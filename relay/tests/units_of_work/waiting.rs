//! The rules of waiting.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use towpath_wire::Code;

use super::support::eventually;
use super::{Work, look, run};

/// How long a query waits here: nothing else takes half as long.
const WAIT_MS: u64 = 30_000;
const IN_VAIN: Duration = Duration::from_millis(WAIT_MS / 2);

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY)";

fn waiting(id: i32, timeout_ms: u64) -> Value {
    json!({"sql": "SELECT id FROM t WHERE id = $1", "params": [id], "wait": {"keys": [format!("t-{id}")], "timeout_ms": timeout_ms}})
}

fn insert(id: i32) -> Value {
    json!({"steps": [{"sql": "INSERT INTO t VALUES ($1)", "params": [id]}], "notify": [format!("t-{id}")]})
}

#[tokio::test]
async fn a_wait_ends_as_soon_as_the_row_is_there() {
    // The slow second look comes too late to be what ends the wait.
    let work = Work::with("wait_look_ms = 60000", TABLE).await;
    let wakeups = &work.relay.wakeups;
    let (row, ended) = tokio::join!(work.query(waiting(1, WAIT_MS)), async {
        eventually("it waits", async || if wakeups.is_empty() { Err("nobody") } else { Ok(()) }).await;
        work.run(insert(1)).await.expect("it commits");
        Instant::now()
    });
    let row = row.expect("an answer");
    assert_eq!((row.rows, row.timed_out), (vec![vec![json!(1)]], false));
    assert!(ended.elapsed() < IN_VAIN);
    assert!(wakeups.is_empty(), "who waits no longer is forgotten");
    let there = Instant::now();
    assert_eq!(work.query(waiting(1, WAIT_MS)).await.expect("an answer").rows.len(), 1);
    assert!(there.elapsed() < IN_VAIN, "what is there needs no wait");
}

/// The waiter registers before it looks: whenever the commit comes, it isn't missed.
#[tokio::test]
async fn a_commit_between_the_look_and_the_wait_is_not_missed() {
    let work = Work::with("wait_look_ms = 60000", TABLE).await;
    let (service, writer) = (work.service(), work.service());
    for id in 0..200 {
        let began = Instant::now();
        let (row, done) = tokio::join!(look(&service, waiting(id, WAIT_MS)), run(&writer, insert(id)));
        done.expect("it commits");
        assert_eq!(row.expect("an answer").rows.len(), 1, "{id}");
        assert!(began.elapsed() < IN_VAIN, "{id} waited in vain");
    }
}

#[tokio::test]
async fn a_slow_second_look_covers_a_lost_wake_up() {
    let work = Work::with("wait_look_ms = 100", TABLE).await;
    let wakeups = &work.relay.wakeups;
    let (row, ()) = tokio::join!(work.query(waiting(1, WAIT_MS)), async {
        eventually("it waits", async || if wakeups.is_empty() { Err("nobody") } else { Ok(()) }).await;
        work.setup.execute("alpha", "INSERT INTO t VALUES (1)").await;
    });
    assert_eq!(row.expect("an answer").rows.len(), 1);
}

#[tokio::test]
async fn who_waits_holds_no_connection() {
    let work = Work::changed("wait_look_ms = 60000", TABLE, |postgres| postgres.pool_size = 1).await;
    let wakeups = &work.relay.wakeups;
    let waiters = join_all((0..50).map(|_| work.query(waiting(1, WAIT_MS))));
    let (rows, ()) = tokio::join!(waiters, async {
        eventually("all wait", async || if wakeups.len() == 50 { Ok(()) } else { Err(wakeups.len()) }).await;
        eventually("the connection is free", async || match work.open_transactions().await.as_str() {
            "0" => Ok(()),
            other => Err(other.to_owned()),
        })
        .await;
        work.run(insert(1)).await.expect("the only connection is free");
    });
    assert!(rows.iter().all(|row| row.as_ref().expect("an answer").rows.len() == 1));
}

#[tokio::test]
async fn a_wait_in_vain_says_so_in_time() {
    let work = Work::with(&format!("wait_timeout_ms = {WAIT_MS}"), TABLE).await;
    let began = Instant::now();
    let answer = work.query(waiting(1, 200)).await.expect("an answer");
    assert!(answer.timed_out && answer.rows.is_empty() && answer.columns == ["id"]);
    assert!((Duration::from_millis(200)..IN_VAIN).contains(&began.elapsed()));
    let none = work.query(waiting(1, 0)).await.expect("an answer");
    assert!(none.timed_out);
    assert_eq!(work.query(waiting(1, WAIT_MS + 1)).await.expect_err("too long").code(), Code::LimitExceeded);
    let no_keys = json!({"sql": "SELECT 1", "wait": {"keys": [], "timeout_ms": 1}});
    assert_eq!(work.query(no_keys).await.expect_err("no keys").code(), Code::MalformedRequest);
    let both = json!({"sql": "SELECT 1", "wait": {"keys": ["k"], "timeout_ms": 1}, "cache": {"ttl_ms": 1}});
    assert_eq!(work.query(both).await.expect_err("both").code(), Code::MalformedRequest);
}

#[tokio::test]
async fn a_stop_ends_every_wait() {
    let work = Work::with("wait_look_ms = 60000", TABLE).await;
    let (service, wakeups) = (work.service(), work.relay.wakeups.clone());
    let waiter = tokio::spawn(async move { look(&service, waiting(1, WAIT_MS)).await });
    eventually("it waits", async || if wakeups.is_empty() { Err("nobody") } else { Ok(()) }).await;
    let (_, answer) = tokio::join!(work.relay.lifecycle.stop(Duration::from_secs(10)), waiter);
    assert!(answer.expect("no panic").expect("an answer").timed_out);
}

#[tokio::test]
async fn a_cached_answer_lives_until_its_tag_is_invalidated() {
    let work = Work::new(TABLE).await;
    let query = json!({"sql": "SELECT count(*) FROM t", "cache": {"ttl_ms": 60000, "tags": ["t"]}});
    let count = async || {
        let answer = work.query(query.clone()).await.expect("an answer");
        (answer.rows[0][0].clone(), answer.cached)
    };
    eventually("the cache answers", async || match count().await {
        (_, true) => Ok(()),
        seen => Err(seen),
    })
    .await;
    work.setup.execute("alpha", "INSERT INTO t VALUES (1)").await;
    assert_eq!(count().await, (json!("0"), true));
    let unit = json!({"steps": [{"sql": "INSERT INTO t VALUES (2)"}], "invalidate": ["t"]});
    work.run(unit).await.expect("it commits");
    assert_eq!(count().await, (json!("2"), false));
    assert_eq!(count().await, (json!("2"), true));
}

#[tokio::test]
async fn a_query_cannot_write() {
    let work = Work::new(TABLE).await;
    for (sql, why) in [
        ("INSERT INTO t VALUES (1)", "/v1/transactions"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM x", "writes"),
        ("SELECT nextval('s')", "writes"),
        ("BEGIN", "isn't allowed"),
        ("SELECT 1; SELECT 2", "more than one"),
    ] {
        work.setup.execute("alpha", "CREATE SEQUENCE IF NOT EXISTS s").await;
        let failure = work.query(json!({"sql": sql})).await.expect_err(sql);
        assert_eq!(failure.code(), Code::StatementRefused, "{sql}");
        assert!(failure.problem.detail.contains(why), "{sql}: {}", failure.problem.detail);
    }
    assert_eq!(work.see("SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn a_read_that_may_be_stale_goes_to_the_replica() {
    let read = |consistency: &str| json!({"sql": "SELECT current_setting('work_mem')", "consistency": consistency});
    let work = Work::changed("", TABLE, |postgres| {
        // The same server, told apart by a setting of the session.
        let url = format!("{}?options=-c%20work_mem%3D7MB", postgres.url.expose());
        postgres.replica_url = Some(url.parse().expect("a URL"));
    })
    .await;
    assert_eq!(work.query(read("replica")).await.expect("an answer").rows, [[json!("7MB")]]);
    assert_ne!(work.query(read("strong")).await.expect("an answer").rows, [[json!("7MB")]]);
    let without = Work::new(TABLE).await;
    without.query(read("replica")).await.expect("from the primary, where there is no replica");
}
