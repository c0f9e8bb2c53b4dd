//! Rules of the outbox.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use towpath_wire::headers::{TOWPATH_TRACEPARENT, TRACESTATE};
use uuid::Uuid;

use crate::kafka::{key_and_number, records, records_now};
use crate::support::{Setup, answer, eventually};
use crate::{TOPIC, assert_same, by_key, event, in_order, publishing, say};

#[tokio::test]
async fn an_event_is_in_kafka_if_and_only_if_its_transaction_committed() {
    let setup = publishing("").await;
    setup.execute("alpha", "CREATE TABLE t (n int PRIMARY KEY)").await;
    let relay = setup.start().await;
    for n in 0..20 {
        // Every second unit of work inserts what is there already, and rolls back.
        let sql = format!("INSERT INTO t VALUES ({})", n / 2);
        let body = json!({"steps": [{"sql": sql}], "events": [event(&setup, "k", n)]});
        let status = relay.transaction("alpha", body).await.status;
        assert_eq!(status, if n % 2 == 0 { 200 } else { 409 });
    }
    say(&relay, &[event(&setup, "k", 1000)]).await;
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), 11).await;
    let numbers: Vec<usize> = seen.iter().map(|record| key_and_number(record).1).collect();
    assert_eq!(numbers, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 1000]);
}

#[tokio::test]
async fn order_per_key_is_the_commit_order() {
    const CLIENTS: usize = 12;
    const EACH: usize = 25;
    let setup = publishing("").await;
    // The row lock of a key is held until the commit, so `said` has the ids of a key in commit order.
    let table = "CREATE TABLE keys (key text PRIMARY KEY, said text[] NOT NULL DEFAULT '{}');
                 INSERT INTO keys VALUES ('a'), ('b'), ('c')";
    setup.execute("alpha", table).await;
    let relay = setup.start().await;
    let clients = (0..CLIENTS).map(async |client| {
        for n in 0..EACH {
            let key = ["a", "b", "c"][(client + n) % 3];
            let id = Uuid::now_v7().to_string();
            let sql = "UPDATE keys SET said = said || $2::text WHERE key = $1";
            let event = json!({"topic": setup.topic(TOPIC), "key": key, "type": "t", "id": id, "data": {}});
            let body = json!({"steps": [{"sql": sql, "params": [key, id]}], "events": [event]});
            assert_eq!(relay.transaction("alpha", body).await.status, 200);
        }
    });
    futures::future::join_all(clients).await;
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), CLIENTS * EACH).await;
    let mut published: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in &seen {
        let id = record.header("ce_id").expect("an id").to_owned();
        published.entry(record.key_text().expect("a key")).or_default().push(id);
    }
    let rows = setup.admin("alpha").await.query("SELECT key, said FROM app.keys", &[]).await.expect("the keys");
    let committed: BTreeMap<String, Vec<String>> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(published, committed);
}

#[tokio::test]
async fn events_are_cloudevents_with_the_trace_context() {
    let setup = publishing("").await;
    let relay = setup.start().await;
    let (id, parent) = (Uuid::now_v7().to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let event = json!({"topic": setup.topic(TOPIC), "key": "k", "type": "thing.made", "id": id, "subject": "s ü",
                       "data": {"big": 12345678901234567890u64, "text": "\u{0} ü"}});
    let request = relay.request("alpha", "POST", "/v1/transactions").json(&json!({"events": [event]}));
    let request = request.header(TOWPATH_TRACEPARENT, parent).header("traceparent", "x").header(TRACESTATE, "a=1");
    assert_eq!(answer(request).await.status, 200);
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), 1).await;
    let header = |name: &str| seen[0].header(name).unwrap_or_else(|| panic!("no {name}: {:?}", seen[0]));
    assert_eq!((header("ce_specversion"), header("ce_id"), header("ce_source")), ("1.0", id.as_str(), "/alpha"));
    assert_eq!((header("ce_type"), header("ce_subject")), ("thing.made", "s ü"));
    assert_eq!(header("content-type"), "application/json");
    assert!(header("ce_time").ends_with('Z') && header("ce_time").starts_with("20"), "{}", header("ce_time"));
    for name in ["traceparent", "ce_traceparent"] {
        assert!(header(name).starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{}", header(name));
    }
    assert_eq!((header("tracestate"), header("ce_tracestate")), ("a=1", "a=1"));
    assert_eq!(seen[0].key.as_deref(), Some(&b"k"[..]));
    let data: Value = serde_json::from_slice(seen[0].value.as_ref().expect("data")).expect("JSON");
    assert_eq!(data, json!({"big": 12345678901234567890u64, "text": "\u{0} ü"}));
}

#[tokio::test]
async fn a_sweep_finds_what_a_dead_relay_left() {
    let setup = publishing("outbox_sweep_ms = 100").await;
    let relay = setup.start().await;
    // As a relay that died right after its commit: nobody is woken.
    let append = "SELECT towpath.outbox_append(ARRAY[$1], ARRAY['k'], ARRAY['1'], ARRAY['t'], ARRAY[NULL], \
                  ARRAY['{\"n\": 7}'], '/alpha', now(), NULL, NULL)";
    setup.admin("alpha").await.query(append, &[&setup.topic(TOPIC)]).await.expect("appends");
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), 1).await;
    assert_eq!(key_and_number(&seen[0]), ("k", 7));
    drop(relay);
}

/// The worst moment: the batch is committed in Kafka, the mark in the database isn't, and the relay dies.
#[tokio::test]
async fn what_is_in_kafka_is_not_published_again_after_a_crash() {
    let setup = publishing("lease_ms = 1000").await;
    let admin = setup.admin("alpha").await;
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 0)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 1).await;
    let settle = "ALTER FUNCTION towpath.outbox_settle(smallint, text, bigint, bigint[]) RENAME TO";
    let rename = |from: &str, to: &str| settle.replacen("outbox_settle", from, 1) + " " + to;
    admin.batch_execute(&rename("outbox_settle", "settle_away")).await.expect("renames");
    say(&relay, &[event(&setup, "k", 1), event(&setup, "l", 1), event(&setup, "k", 2)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 4).await;
    relay.crash();
    admin.batch_execute(&rename("settle_away", "outbox_settle")).await.expect("renames");
    let next = setup.start().await;
    say(&next, &[event(&setup, "k", 3), event(&setup, "l", 2)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 6).await;
    eventually("every event is marked", async || waiting(&setup).await).await;
    let seen = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    let seen = by_key(seen.iter().map(key_and_number));
    assert_eq!(seen, BTreeMap::from([("k".into(), vec![0, 1, 2, 3]), ("l".into(), vec![1, 2])]));
}

/// Numbers are taken in one order and committed in another.
#[tokio::test]
async fn an_event_that_is_committed_long_after_later_ones_is_published() {
    let setup = publishing("outbox_sweep_ms = 100").await;
    let relay = setup.start().await;
    let slow = setup.admin("alpha").await;
    let append = "SELECT towpath.outbox_append(ARRAY[$1], ARRAY['slow'], ARRAY['1'], ARRAY['t'], ARRAY[NULL], \
                  ARRAY['{\"n\": 7}'], '/alpha', now(), NULL, NULL)";
    slow.batch_execute("BEGIN").await.expect("begins");
    slow.query(append, &[&setup.topic(TOPIC)]).await.expect("appends");
    let seq: i64 = slow.query_one("SELECT last_value FROM towpath.outbox_seq_seq", &[]).await.expect("a number").get(0);
    for n in 0..5 {
        let events: Vec<Value> = (0..64).map(|key| event(&setup, &format!("key-{key}"), n)).collect();
        say(&relay, &events).await;
    }
    records(&setup.servers.kafka, &setup.topic(TOPIC), 5 * 64).await;
    // A relay that stops writes down how far it has come.
    let marks = "SELECT max(published_to) FROM towpath.shard_lease";
    assert!(relay.stop().await);
    let admin = setup.admin("alpha").await;
    let mark: i64 = admin.query_one(marks, &[]).await.expect("the marks").get(0);
    assert!(mark < seq, "the mark {mark} passes {seq}, which isn't committed");
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "key-0", 5)]).await;
    records(&setup.servers.kafka, &setup.topic(TOPIC), 5 * 64 + 1).await;
    slow.batch_execute("COMMIT").await.expect("commits");
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), 5 * 64 + 2).await;
    assert_eq!(seen.iter().filter(|record| key_and_number(record) == ("slow", 7)).count(), 1);
    // Once it has ended, the marks go on beyond it.
    eventually("the marks pass it", async || {
        say(&relay, &[event(&setup, "key-0", 6)]).await;
        let mark: i64 = admin.query_one(marks, &[]).await.expect("the marks").get(0);
        if mark > seq { Ok(()) } else { Err(mark) }
    })
    .await;
}

/// Every connection to the database ends at once, again and again: units of work repeat themselves by their inbox ids,
/// and the publisher loses its own connections in the middle of whatever it does.
#[tokio::test]
async fn connections_that_end_in_the_middle_lose_and_double_nothing() {
    const KEYS: usize = 8;
    const UNITS: usize = 120;
    let setup = publishing("").await;
    let relay = setup.start().await;
    let taken = AtomicUsize::new(0);
    let speaking = async {
        for n in 0..UNITS {
            let events: Vec<Value> = (0..KEYS).map(|key| event(&setup, &format!("key-{key}"), n)).collect();
            let unit = json!({"events": events, "inbox": format!("unit-{n}")});
            eventually("a unit of work is taken", async || {
                let answer = relay.transaction("alpha", unit.clone()).await;
                if answer.status == 200 { Ok(()) } else { Err(answer) }
            })
            .await;
            taken.fetch_add(1, Ordering::SeqCst);
        }
    };
    let terminating = async {
        let admin = connect_elsewhere(&setup).await;
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        for round in 1..UNITS / 4 {
            eventually("units of work go on", async || {
                let taken = taken.load(Ordering::SeqCst);
                if taken >= round * 4 { Ok(()) } else { Err(taken) }
            })
            .await;
            admin.query(sql, &[&setup.database_name("alpha")]).await.expect("terminates");
        }
    };
    tokio::join!(speaking, terminating);
    records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * UNITS).await;
    let seen = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, UNITS));
}

/// A connection that isn't to the service's database.
async fn connect_elsewhere(setup: &Setup) -> tokio_postgres::Client {
    let connecting = tokio_postgres::connect(&setup.servers.postgres, tokio_postgres::NoTls).await;
    let (client, connection) = connecting.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// `Err`: how many events wait.
async fn waiting(setup: &Setup) -> Result<(), i64> {
    let sql = "SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL";
    let row = setup.admin("alpha").await.query_one(sql, &[]).await.expect("counts");
    match row.get(0) {
        0 => Ok(()),
        waiting => Err(waiting),
    }
}
