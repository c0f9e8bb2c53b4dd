//! Retention: old rows are deleted.

use crate::support::eventually;
use crate::{event, publishing, say};

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
            SELECT 'new-' || n, 'h', '{}', now() - interval '23 hours' FROM generate_series(1, 10) AS n;
        INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data, created_at)
            VALUES (0, 'no.such.topic', 'k', 'waits', 't', '/s', now(), '{}', now() - interval '30 days');";
    admin.batch_execute(rows).await.expect("inserts");
    let _relays = [setup.start().await, setup.start().await];
    say(&_relays[0], &[event(&setup, "k", 0)]).await;
    let count = "SELECT ARRAY[(SELECT count(*) FROM towpath.outbox WHERE topic IN ('x', 'no.such.topic')),
                              (SELECT count(*) FROM towpath.inbox), (SELECT count(*) FROM towpath.idempotency)]";
    eventually("only what is young or waits is left", async || {
        let left: Vec<i64> = admin.query_one(count, &[]).await.expect("counts").get(0);
        if left == [11, 10, 10] { Ok(()) } else { Err(left) }
    })
    .await;
}
