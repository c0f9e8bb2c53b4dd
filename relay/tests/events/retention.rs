//! Retention: old rows are deleted.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use towpath_relay::statements;

use crate::support::eventually;
use crate::{event, publishing, say};

/// How many rows each table has: the outbox, the inbox, the stored answers.
async fn rows(admin: &Client) -> Vec<i64> {
    let count = "SELECT ARRAY[(SELECT count(*) FROM towpath.outbox WHERE topic IN ('x', 'no.such.topic')),
                              (SELECT count(*) FROM towpath.inbox), (SELECT count(*) FROM towpath.idempotency)]";
    admin.query_one(count, &[]).await.expect("counts").get(0)
}

async fn left(admin: &Client, wanted: [i64; 3]) {
    eventually("only what is young or waits is left", async || {
        let left = rows(admin).await;
        if left == wanted { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Rows of this age in all tables.
fn aged(age: &str, from: u32, to: u32) -> String {
    format!(
        "INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data, created_at, published_at)
            SELECT 0, 'x', 'k', n::text, 't', '/s', now(), '{{}}', now() - interval '{age}', now() - interval '{age}'
            FROM generate_series({from}, {to}) AS n;
         INSERT INTO towpath.inbox (event_id, handled_at)
            SELECT n::text, now() - interval '{age}' FROM generate_series({from}, {to}) AS n;
         INSERT INTO towpath.idempotency (key, request_hash, answer, created_at)
            SELECT n::text, 'h', '{{}}', now() - interval '{age}' FROM generate_series({from}, {to}) AS n;"
    )
}

#[tokio::test]
async fn old_rows_are_deleted_and_young_and_unpublished_ones_are_not() {
    let setup = publishing("purge_every_ms = 100\nlease_ms = 1000").await;
    let admin = setup.admin("alpha").await;
    // More than one batch of each kind that is old, and some that isn't.
    let rows = "
        INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data, created_at, published_at)
            SELECT 0, 'x', 'k', n::text, 't', '/s', now(), '{}', now() - interval '3 days',
                   CASE WHEN n <= 1200 THEN now() - interval '2 days' WHEN n <= 1210 THEN now() END
            FROM generate_series(1, 1210) AS n;
        INSERT INTO towpath.inbox (event_id, handled_at)
            SELECT 'old-' || n, now() - interval '9 days' FROM generate_series(1, 1200) AS n;
        INSERT INTO towpath.inbox (event_id, handled_at)
            SELECT 'new-' || n, now() - interval '7 days' FROM generate_series(1, 10) AS n;
        INSERT INTO towpath.idempotency (key, request_hash, answer, created_at)
            SELECT 'old-' || n, 'h', '{}', now() - interval '25 hours' FROM generate_series(1, 1200) AS n;
        INSERT INTO towpath.idempotency (key, request_hash, answer, created_at)
            SELECT 'new-' || n, 'h', '{}', now() - interval '23 hours' FROM generate_series(1, 10) AS n;";
    admin.batch_execute(rows).await.expect("inserts");
    let _relays = [setup.start().await, setup.start().await];
    say(&_relays[0], &[event(&setup, "k", 0)]).await;
    left(&admin, [10, 10, 10]).await;
}

/// A table that somebody has locked waits; the others don't.
#[tokio::test]
async fn a_table_that_is_locked_keeps_no_other_waiting() {
    let limits = "purge_every_ms = 100\nlease_ms = 1000\nlock_timeout_ms = 200\ninbox_retention_ms = 86400000";
    let setup = publishing(limits).await;
    let admin = setup.admin("alpha").await;
    for (table, wanted) in [("inbox", [0, 3000, 0]), ("outbox", [3000, 0, 0]), ("idempotency", [0, 0, 3000])] {
        let fill =
            "TRUNCATE towpath.outbox, towpath.inbox, towpath.idempotency; ".to_owned() + &aged("2 days", 1, 3000);
        admin.batch_execute(&fill).await.expect("inserts");
        let locking = setup.admin("alpha").await;
        // Reading is allowed: the test counts.
        locking.batch_execute(&format!("BEGIN; LOCK TABLE towpath.{table} IN EXCLUSIVE MODE")).await.expect("locks");
        let relay = setup.start().await;
        left(&admin, wanted).await;
        locking.batch_execute("ROLLBACK").await.expect("unlocks");
        left(&admin, [0, 0, 0]).await;
        assert!(relay.stop().await);
    }
}

/// tokio's threads have 2 MiB of stack, and a relay that goes beyond it is gone. Half of that is enough.
#[test]
fn half_a_threads_stack_is_enough() {
    let work = async || {
        let setup = publishing("purge_every_ms = 100\nlease_ms = 1000").await;
        let admin = setup.admin("alpha").await;
        admin.batch_execute(&aged("9 days", 1, 3000)).await.expect("inserts");
        let relay = setup.start().await;
        left(&admin, [0, 0, 0]).await;
        assert!(relay.stop().await);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || runtime.block_on(work()));
    thread.expect("a thread").join().expect("it ends");
}

/// Rows don't lie in the order of their times, and those of the future were written by a clock that was ahead.
#[tokio::test]
async fn old_rows_behind_young_ones_and_rows_of_the_future_are_found() {
    let limits = "purge_every_ms = 100\nlease_ms = 1000\ninbox_retention_ms = 86400000";
    let setup = publishing(limits).await;
    let admin = setup.admin("alpha").await;
    let young = aged("1 hour", 1, 50_000);
    let all = format!("{young} {} {}", aged("2 days", 50_001, 60_000), aged("-10 years", 60_001, 60_100));
    admin.batch_execute(&all).await.expect("inserts");
    let _relay = setup.start().await;
    left(&admin, [50_100, 50_100, 50_100]).await;
    let future = "SELECT (SELECT count(*) FROM towpath.outbox WHERE published_at > now() + interval '1 minute')
                       + (SELECT count(*) FROM towpath.inbox WHERE handled_at > now() + interval '1 minute')
                       + (SELECT count(*) FROM towpath.idempotency WHERE created_at > now() + interval '1 minute')";
    eventually("no row is of the future", async || {
        let ahead: i64 = admin.query_one(future, &[]).await.expect("counts").get(0);
        if ahead == 0 { Ok(()) } else { Err(ahead) }
    })
    .await;
    assert_eq!(rows(&admin).await, [50_100, 50_100, 50_100], "and none is deleted for that");
}

/// The database's clock is two hours ahead of the relay's: to the relay the database's time is two hours too late.
#[tokio::test]
async fn a_database_whose_clock_is_ahead_deletes_nothing_early() {
    let setup = publishing("purge_every_ms = 86400000").await;
    let admin = setup.admin("alpha").await;
    admin.batch_execute(&aged("25 hours", 1, 100)).await.expect("inserts");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    for (relays_time, wanted) in [(now - 7_200.0, 100), (now, 0), (now + 7_200.0, 0)] {
        for (table, time) in [("outbox", "published_at"), ("inbox", "handled_at"), ("idempotency", "created_at")] {
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&"(0,0)", Type::TEXT),
                (&"(32,0)", Type::TEXT),
                (&relays_time, Type::FLOAT8),
                (&86_400_f64, Type::FLOAT8),
            ];
            admin.query_typed(&statements::delete_between(table, time), &parameters).await.expect("deletes");
        }
        assert_eq!(rows(&admin).await, [wanted; 3], "{relays_time} and {now}");
    }
}
