//! What a batch costs, whatever else the tables hold: pages that PostgreSQL touches, as EXPLAIN counts them.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use towpath_relay::statements;

use crate::kafka::records;
use crate::support::{Setup, eventually};
use crate::{TOPIC, event, publishing, say};

/// The pages that a statement touches.
async fn pages(client: &Client, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> i64 {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}");
    let rows = client.query_typed(&explain, parameters).await.expect("explains");
    let plan: Value = rows[0].get(0);
    let count = |name: &str| plan[0]["Plan"][name].as_i64().expect("a number of pages");
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

/// What reading the outbox touches, from the marks that the database has, or from the beginning.
async fn pages_of_a_batch(client: &Client, from_marks: bool) -> i64 {
    let rows = client.query("SELECT shard, published_to FROM towpath.shard_lease ORDER BY shard", &[]).await;
    let mark = |row: &Row| -> (i16, i64) { (row.get(0), if from_marks { row.get(1) } else { 0 }) };
    let (shards, marks): (Vec<i16>, Vec<i64>) = rows.expect("the marks").iter().map(mark).unzip();
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&shards, Type::INT2_ARRAY),
        (&500_i64, Type::INT8),
        (&(8_i64 << 20), Type::INT8),
        (&100_i64, Type::INT8),
        (&marks, Type::INT8_ARRAY),
    ];
    pages(client, statements::READ, &parameters).await
}

/// Fills the outbox with events that wait, as units of work would.
pub(crate) async fn fill(setup: &Setup, client: &Client, events: i32, bytes: i32) {
    let sql = "INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data)
               SELECT (hashtextextended($1 || E'\\x1f' || 'key-' || n % 1000, 7302) & 15)::smallint, $1, 'key-' || n % 1000,
                      n::text, 'thing.happened', '/alpha', now(),
                      '{\"n\": ' || n || ', \"text\": \"' || repeat('x', $3) || '\"}'
               FROM generate_series(1, $2) AS n";
    let topic = setup.topic(TOPIC);
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&topic, Type::TEXT), (&events, Type::INT4), (&bytes, Type::INT4)];
    client.query_typed(sql, &parameters).await.expect("fills the outbox");
}

#[tokio::test]
async fn a_batch_costs_the_same_while_a_snapshot_keeps_all_that_was_published() {
    const EVENTS: i32 = 20_000;
    let setup = publishing("outbox_sweep_ms = 100").await;
    let snapshot = setup.admin("alpha").await;
    snapshot
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM towpath.publisher")
        .await
        .expect("looks");
    let admin = setup.admin("alpha").await;
    fill(&setup, &admin, EVENTS, 0).await;
    let relay = setup.start().await;
    let waiting = "SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL";
    eventually("all are published", async || {
        let left: i64 = admin.query_one(waiting, &[]).await.expect("counts").get(0);
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    assert!(relay.stop().await);
    let (from_marks, from_the_beginning) =
        (pages_of_a_batch(&admin, true).await, pages_of_a_batch(&admin, false).await);
    assert!(from_the_beginning > 1_000, "the snapshot keeps nothing: {from_the_beginning} pages");
    assert!(from_marks < 150, "{from_marks} pages, and {from_the_beginning} without the marks");

    // Marking, holding and retiring go by the numbers: PostgreSQL knows that few wait, and would take the index of these.
    fill(&setup, &admin, 6, 0).await;
    admin.batch_execute("ANALYZE towpath.outbox").await.expect("analyses");
    admin.batch_execute("UPDATE towpath.shard_lease SET holder = 'me', fence = 1").await.expect("takes the shards");
    let new = "SELECT shard, seq FROM towpath.outbox WHERE published_at IS NULL ORDER BY seq";
    let new: Vec<(i16, i64)> =
        admin.query(new, &[]).await.expect("what waits").iter().map(|row| (row.get(0), row.get(1))).collect();
    for (number, function) in [
        "towpath.outbox_settle($1, 'me', 1, $2)",
        "towpath.outbox_hold($1, 'me', 1, $2, $2, ARRAY['too large'], 60000)",
        "towpath.publisher_retire('me-' || $1, $2)",
    ]
    .into_iter()
    .enumerate()
    {
        let sql = format!("SELECT {function}");
        let nothing: Vec<i64> = Vec::new();
        // The first call reads the catalogue.
        let (shard, seq) = new[number];
        let first: [(&(dyn ToSql + Sync), Type); 2] = [(&shard, Type::INT2), (&nothing, Type::INT8_ARRAY)];
        admin.query_typed(&sql, &first).await.expect("works");
        let seqs = vec![seq];
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&shard, Type::INT2), (&seqs, Type::INT8_ARRAY)];
        let touched = pages(&admin, &sql, &parameters).await;
        assert!(touched < 150, "{function}: {touched} pages");
    }
    let free = "UPDATE towpath.shard_lease SET holder = NULL, expires_at = '-infinity';
                DELETE FROM towpath.held_event; DELETE FROM towpath.held_key";
    admin.batch_execute(free).await.expect("gives the shards up");

    // And what comes is found, by this relay's marks and by the next one's.
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "key-0", 0)]).await;
    // Of the six one was only said to be published, one was deleted, and one was retired.
    records(&setup.servers.kafka, &setup.topic(TOPIC), EVENTS as usize + 3 + 1).await;
}

/// A person who empties the table by hand, or a failover to a server that hadn't all, sets the numbers back.
#[tokio::test]
async fn numbers_that_were_set_back_hide_no_event() {
    let setup = publishing("outbox_sweep_ms = 100").await;
    let admin = setup.admin("alpha").await;
    let relay = setup.start().await;
    for n in 0..20 {
        say(&relay, &[event(&setup, "k", n)]).await;
    }
    records(&setup.servers.kafka, &setup.topic(TOPIC), 20).await;
    assert!(relay.stop().await);
    let empty = "TRUNCATE towpath.outbox RESTART IDENTITY";
    admin.batch_execute(empty).await.expect("empties it");
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 20), event(&setup, "k", 21)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 22).await;
    eventually("both are marked", async || {
        let left: i64 = admin
            .query_one("SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL", &[])
            .await
            .expect("counts")
            .get(0);
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    // And while it runs.
    admin.batch_execute(empty).await.expect("empties it");
    say(&relay, &[event(&setup, "k", 22)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 23).await;
}

#[tokio::test]
async fn a_step_of_retention_touches_its_blocks_and_no_index() {
    let setup = publishing("").await;
    let admin = setup.admin("alpha").await;
    let rows = "
        INSERT INTO towpath.outbox (shard, topic, key, id, type, source, time, data, published_at)
            SELECT 0, 'x', 'k', n::text, 't', '/s', now(), '{}', now() FROM generate_series(1, 100000) AS n;
        INSERT INTO towpath.inbox (event_id) SELECT n::text FROM generate_series(1, 100000) AS n;
        INSERT INTO towpath.idempotency (key, request_hash, answer)
            SELECT n::text, 'h', '{}' FROM generate_series(1, 100000) AS n;
        ANALYZE towpath.outbox, towpath.inbox, towpath.idempotency";
    admin.batch_execute(rows).await.expect("inserts");
    let (from, to) = ("(64,0)", "(96,0)");
    for (table, time) in [("outbox", "published_at"), ("inbox", "handled_at"), ("idempotency", "created_at")] {
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&from, Type::TEXT), (&to, Type::TEXT), (&1e12_f64, Type::FLOAT8), (&86_400_f64, Type::FLOAT8)];
        let touched = pages(&admin, &statements::delete_between(table, time), &parameters).await;
        assert!((32..=80).contains(&touched), "{table}: {touched} pages");
    }
}
