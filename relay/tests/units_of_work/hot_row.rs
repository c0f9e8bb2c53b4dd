//! A row on which many work at once keeps nobody else waiting.

use futures::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::Client;
use towpath_wire::Code;

use super::Work;
use super::support::eventually;

const POOL: usize = 8;
const UNITS: usize = 30;
const HOT: usize = 0;

fn unit(row: usize) -> Value {
    json!({"steps": [{"sql": "UPDATE t SET n = n + 1 WHERE id = $1", "params": [row]}]})
}

/// With a lock on the hot row that somebody else holds.
async fn with_a_locked_row(limits: &str) -> (Work, Client) {
    let table =
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT id, 0 FROM generate_series(0, 30) AS id";
    let limits = format!("{limits}\nstatement_timeout_ms = 120000\ntransaction_timeout_ms = 120000");
    let work = Work::changed(&limits, table, |postgres| postgres.pool_size = POOL).await;
    let holder = work.setup.admin("alpha").await;
    holder.batch_execute("BEGIN; SELECT FROM app.t WHERE id = 0 FOR UPDATE").await.expect("a lock");
    (work, holder)
}

/// How many wait for a lock, with a connection each.
async fn waiting(work: &Work) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    work.see(sql).await.parse().expect("a number")
}

#[tokio::test]
async fn a_hot_row_leaves_the_pool_to_others() {
    let (work, holder) = with_a_locked_row("lock_timeout_ms = 60000\npool_wait_ms = 30000").await;
    let hot = join_all((0..UNITS).map(|_| work.run(unit(HOT))));
    let others = async {
        eventually("half of the pool waits for the row", async || match waiting(&work).await {
            count if count == POOL / 2 => Ok(()),
            count => Err(count),
        })
        .await;
        for row in 1..=UNITS {
            work.run(unit(row)).await.expect("others find a connection");
        }
        assert!(waiting(&work).await >= POOL / 2, "the row is locked still");
        holder.batch_execute("COMMIT").await.expect("it ends");
    };
    let (hot, ()) = tokio::join!(hot, others);
    assert!(hot.iter().all(Result::is_ok), "{hot:?}");
    assert_eq!(work.see("SELECT string_agg(DISTINCT n::text, ' ' ORDER BY n::text) FROM t").await, "1 30");
}

#[tokio::test]
async fn whose_row_is_not_free_in_time_hears_contention() {
    let (work, holder) = with_a_locked_row("lock_timeout_ms = 200\npool_wait_ms = 30000").await;
    for answer in join_all((0..UNITS).map(|_| work.run(unit(HOT)))).await {
        let failure = answer.expect_err("the row is locked");
        assert_eq!((failure.code(), failure.problem.retryable), (Code::Contention, true), "{failure:?}");
    }
    holder.batch_execute("COMMIT").await.expect("it ends");
    work.run(unit(HOT)).await.expect("the row is free");
    assert_eq!(work.see("SELECT sum(n) FROM t").await, "1", "nothing of those that were refused took place");
}
