//! A key on which many work at once keeps nobody else waiting.

use futures::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::Client;
use towpath_wire::Code;

use super::Work;
use super::gate::PATIENT;
use super::support::eventually;

const HOT: &str = "hot";
const POOL: usize = 8;
const UNITS: usize = 30;

fn unit(work: &Work, key: &str) -> Value {
    json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "events": [{"topic": work.topic(), "key": key, "type": "x"}]})
}

/// With a lock on the hot key that somebody else holds, as another relay might.
async fn with_a_locked_key(limits: &str) -> (Work, Client) {
    let work = Work::changed(limits, "CREATE TABLE t (id int)", |postgres| postgres.pool_size = POOL).await;
    let holder = work.setup.admin("alpha").await;
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{}' || E'\\x1f' || '{HOT}', 7302))",
        work.topic()
    );
    holder.batch_execute(&lock).await.expect("a lock");
    (work, holder)
}

/// How many wait for the lock, with a connection each.
async fn waiting(work: &Work) -> usize {
    let sql = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
               WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
    work.see(sql).await.parse().expect("a number")
}

#[tokio::test]
async fn a_hot_key_leaves_the_pool_to_others() {
    let (work, holder) = with_a_locked_key(&format!("{PATIENT}\npool_wait_ms = 2000")).await;
    let hot = join_all((0..UNITS).map(|_| work.run(unit(&work, HOT))));
    let others = async {
        eventually("its share of the pool waits for the key", async || match waiting(&work).await {
            count if count == POOL / 4 => Ok(()),
            count => Err(count),
        })
        .await;
        for n in 0..UNITS {
            work.run(unit(&work, &format!("other-{n}"))).await.expect("others find a connection");
        }
        assert_eq!(waiting(&work).await, POOL / 4);
        holder.batch_execute("COMMIT").await.expect("it ends");
    };
    let (hot, ()) = tokio::join!(hot, others);
    assert!(hot.iter().all(Result::is_ok), "{hot:?}");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox WHERE key = 'hot'").await, UNITS.to_string());
}

#[tokio::test]
async fn who_finds_no_place_in_time_hears_contention() {
    let limits = "lock_timeout_ms = 200\nstatement_timeout_ms = 60000\ntransaction_timeout_ms = 60000";
    let (work, holder) = with_a_locked_key(limits).await;
    let refused = join_all((0..UNITS).map(|_| work.run(unit(&work, HOT)))).await;
    for answer in refused {
        let failure = answer.expect_err("the key is locked");
        assert_eq!((failure.code(), failure.problem.retryable), (Code::Contention, true), "{failure:?}");
    }
    holder.batch_execute("COMMIT").await.expect("it ends");
    work.run(unit(&work, HOT)).await.expect("the key is free");
    assert_eq!(work.see("SELECT count(*) FROM t").await, "1", "nothing of those that were refused took place");
}
