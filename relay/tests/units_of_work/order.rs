//! The outbox as units of work fill it: in commit order per key.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};
use towpath_relay::telemetry::TraceContext;
use towpath_relay::unit_of_work;

use super::Work;

/// Units that publish one key don't interleave between the number and the commit: whatever anybody sees of the key is
/// a beginning of what it will be.
#[tokio::test]
async fn order_per_key_is_the_commit_order() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let keys = ["k", "another", "third"];
    let unit = |writer: usize, n: usize| {
        // Several keys at once, in an order that differs: no deadlock comes of it.
        let events: Vec<_> = (0..3)
            .map(|i| json!({"topic": work.topic(), "key": keys[(writer + i) % 3], "type": "t", "data": [writer, n]}))
            .collect();
        json!({"steps": [{"sql": "INSERT INTO t VALUES (1)"}], "events": events})
    };
    let admin = work.setup.admin("alpha").await;
    let look = async || {
        let sql = "SELECT array_agg(seq ORDER BY seq) FROM towpath.outbox WHERE key = 'k'";
        admin.query_one(sql, &[]).await.expect("a look").get::<_, Option<Vec<i64>>>(0).unwrap_or_default()
    };
    let writers = join_all((0..16).map(|writer| {
        let (work, unit) = (&work, &unit);
        async move {
            for n in 0..10 {
                work.run(unit(writer, n)).await.expect("it commits");
            }
        }
    }));
    tokio::pin!(writers);
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            biased;
            snapshot = look() => seen.push(snapshot),
            _ = &mut writers => break,
        }
    }
    let all = look().await;
    assert_eq!(all.len(), 160);
    let lengths: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert!(lengths.len() > 5, "looked in between: {lengths:?}");
    for snapshot in seen {
        assert_eq!(snapshot, all[..snapshot.len()], "a lower number appeared after a higher one");
    }
}

#[tokio::test]
async fn the_events_of_a_unit_stand_in_its_order_with_all_that_belongs_to_them() {
    let work = Work::new("").await;
    let parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let exact: Value = serde_json::from_str("1.10").expect("a number");
    let events = json!({"events": [
        {"topic": work.topic(), "key": "b", "type": "second.kind", "data": {"n": exact}, "subject": "s"},
        {"topic": work.topic(), "key": "a", "type": "first.kind", "id": "given", "data": "\u{0}"},
        {"topic": work.topic(), "key": "b", "type": "third.kind"},
    ]});
    let request = serde_json::from_value(events).expect("a unit of work");
    let trace = TraceContext::new(parent, None).expect("well-formed");
    let answer = unit_of_work::run(&work.service(), request, trace, Box::new(())).await.expect("it commits");
    assert_eq!((answer.event_ids.len(), answer.event_ids[1].as_str()), (3, "given"));
    let rows = work
        .see("SELECT string_agg(concat_ws('|', topic = (SELECT min(topic) FROM towpath.outbox), key, type, source, subject, data, \
              traceparent, id = 'given'), E'\\n' ORDER BY seq) FROM towpath.outbox")
        .await;
    let expected = format!(
        "t|b|second.kind|/alpha|s|{{\"n\":1.10}}|{0}|f\nt|a|first.kind|/alpha|\"\\u0000\"|{0}|t\nt|b|third.kind|/alpha|null|{0}|f",
        parent
    );
    assert_eq!(rows, expected);
    assert_eq!(
        work.see("SELECT count(DISTINCT shard) <= 2 AND bool_and(shard BETWEEN 0 AND 15) FROM towpath.outbox").await,
        "true"
    );
}
