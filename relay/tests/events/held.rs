//! Events that Kafka refuses: their keys alone wait.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use serde_json::{Value, json};
use towpath_relay::config::Config;

use crate::kafka::{admin, key_and_number, records, records_now};
use crate::support::{ServiceSetup, Setup, eventually};
use crate::{by_key, say_as};

/// Where Kafka takes 5000 bytes at most, and where it takes what the relay does.
pub(crate) const SMALL: &str = "small";
const LARGE: &str = "large";

/// A setup whose service of this name publishes to both. Relays of one process share their metrics, so each test has a
/// service of its own.
pub(crate) async fn with_a_small_topic(service: &str) -> Setup {
    crate::show_logs();
    let publishes = ServiceSetup::new(service).database().publishes(SMALL).publishes(LARGE);
    let setup = Setup::new().service(publishes).declare(SMALL).declare(LARGE);
    setup.toml("[limits]\noutbox_sweep_ms = 100\nlease_ms = 5000").databases().await
}

/// Its configuration, in which the small topic is small.
pub(crate) fn small(setup: &Setup, instance: &str) -> Config {
    let mut config = setup.config(instance);
    let topics = &mut config.kafka.as_mut().expect("Kafka").topics;
    let settings = &mut topics.get_mut(&setup.topic(SMALL)).expect("the topic").settings;
    settings.insert("max.message.bytes".into(), "5000".into());
    config
}

/// Lets the small topic take what the relay does.
pub(crate) async fn mend(setup: &Setup) {
    limit(setup, "1048588").await;
}

async fn limit(setup: &Setup, bytes: &str) {
    let topic = setup.topic(SMALL);
    let config = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let done = admin(&setup.servers.kafka).alter_configs([&config], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(done[0].is_ok(), "{done:?}");
}

pub(crate) fn event(setup: &Setup, topic: &str, key: &str, n: usize, bytes: usize) -> Value {
    json!({"topic": setup.topic(topic), "key": key, "type": "t", "data": {"n": n, "x": "x".repeat(bytes)}})
}

/// Waits until as many keys are held, and as many events behind them.
pub(crate) async fn held(setup: &Setup, service: &str, keys: i64, events: i64) {
    let admin = setup.admin(service).await;
    let sql = "SELECT (SELECT count(*) FROM towpath.held_key), (SELECT count(*) FROM towpath.held_event),
                      (SELECT count(*) FROM towpath.outbox WHERE published_at IS NULL)";
    eventually("so many are held, and the rest is published", async || {
        let row = admin.query_one(sql, &[]).await.expect("counts");
        let seen: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if seen == (keys, events, 0) { Ok(()) } else { Err(seen) }
    })
    .await;
}

async fn numbers(setup: &Setup, topic: &str) -> BTreeMap<String, Vec<usize>> {
    let seen = records_now(&setup.servers.kafka, &setup.topic(topic)).await;
    by_key(seen.iter().map(key_and_number))
}

fn of(key: &str, numbers: &[usize]) -> BTreeMap<String, Vec<usize>> {
    BTreeMap::from([(key.to_owned(), numbers.to_vec())])
}

#[tokio::test]
async fn an_event_that_kafka_refuses_holds_back_its_key_alone_until_that_is_mended() {
    let setup = with_a_small_topic("heldalone").await;
    let relay = setup.start_with(small(&setup, "relay")).await;
    // One unit of work, so that all are read as one batch.
    let mut events: Vec<Value> = (0..100).map(|n| event(&setup, SMALL, &format!("key-{n}"), n, 10)).collect();
    events.insert(50, event(&setup, SMALL, "bad", 0, 9000));
    events.push(event(&setup, SMALL, "bad", 1, 10));
    say_as("heldalone", &relay, &events).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 100).await;
    held(&setup, "heldalone", 1, 2).await;
    say_as("heldalone", &relay, &[event(&setup, SMALL, "bad", 2, 10), event(&setup, SMALL, "key-0", 100, 10)]).await;
    held(&setup, "heldalone", 1, 3).await;
    let seen = numbers(&setup, SMALL).await;
    assert_eq!((seen.len(), seen.get("bad"), &seen["key-0"]), (100, None, &vec![0, 100]));

    eventually("it is told", async || {
        let keys = relay.metric("towpath_relay_outbox_held_keys{service=\"heldalone\"}").await;
        let readiness = relay.readiness().await;
        let cause = readiness["standing"]["heldalone.held_keys"]["cause"].as_str().unwrap_or_default().to_owned();
        let told =
            cause.contains("heldalone/51 of") && cause.contains("too large") && readiness["status"] == "degraded";
        if keys == 1.0 && told { Ok(()) } else { Err((keys, readiness)) }
    })
    .await;
    assert!(relay.metric("towpath_relay_outbox_failures_total{service=\"heldalone\",reason=\"refused\"}").await >= 1.0);

    mend(&setup).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 104).await;
    held(&setup, "heldalone", 0, 0).await;
    assert_eq!(numbers(&setup, SMALL).await["bad"], [0, 1, 2]);
    say_as("heldalone", &relay, &[event(&setup, SMALL, "bad", 3, 10)]).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 105).await;
    assert_eq!(numbers(&setup, SMALL).await["bad"], [0, 1, 2, 3]);
    eventually("it is told no more", async || {
        let keys = relay.metric("towpath_relay_outbox_held_keys{service=\"heldalone\"}").await;
        let readiness = relay.readiness().await;
        if keys == 0.0 && readiness["standing"].is_null() { Ok(()) } else { Err((keys, readiness)) }
    })
    .await;
}

#[tokio::test]
async fn a_relay_that_takes_over_goes_on_with_the_held_keys() {
    let setup = with_a_small_topic("heldover").await;
    let first = setup.start_with(small(&setup, "first")).await;
    say_as("heldover", &first, &[event(&setup, SMALL, "bad", 0, 9000), event(&setup, SMALL, "bad", 1, 10)]).await;
    held(&setup, "heldover", 1, 2).await;
    first.crash();
    let second = setup.start_with(small(&setup, "second")).await;
    say_as("heldover", &second, &[event(&setup, SMALL, "bad", 2, 10), event(&setup, SMALL, "good", 0, 10)]).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 1).await;
    held(&setup, "heldover", 1, 3).await;
    assert_eq!(numbers(&setup, SMALL).await, of("good", &[0]));
    mend(&setup).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 4).await;
    held(&setup, "heldover", 0, 0).await;
    assert_eq!(numbers(&setup, SMALL).await["bad"], [0, 1, 2]);
}

/// The database's clock was ahead when the key was held, and has come back.
#[tokio::test]
async fn a_clock_that_was_ahead_delays_no_held_key() {
    let setup = with_a_small_topic("heldahead").await;
    let relay = setup.start_with(small(&setup, "relay")).await;
    say_as("heldahead", &relay, &[event(&setup, SMALL, "bad", 0, 9000)]).await;
    held(&setup, "heldahead", 1, 1).await;
    let admin = setup.admin("heldahead").await;
    mend(&setup).await;
    let ahead = "UPDATE towpath.held_key SET retry_at = clock_timestamp() + interval '5 minutes'";
    admin.batch_execute(ahead).await.expect("it was ahead");
    held(&setup, "heldahead", 0, 0).await;
}

/// Somebody made the topic smaller than relay.toml says: together the events are too large, one by one they aren't.
#[tokio::test]
async fn events_that_are_too_large_only_together_are_all_published() {
    let setup = with_a_small_topic("heldtogether").await;
    let relay = setup.start_with(small(&setup, "first")).await;
    assert!(relay.stop().await);
    let relay = setup.start().await;
    let events: Vec<Value> = (0..60).map(|n| event(&setup, SMALL, &format!("key-{}", n % 20), n / 20, 1000)).collect();
    say_as("heldtogether", &relay, &events).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 60).await;
    held(&setup, "heldtogether", 0, 0).await;
    assert_eq!(numbers(&setup, SMALL).await, (0..20).map(|key| (format!("key-{key}"), vec![0, 1, 2])).collect());
}

#[tokio::test]
async fn a_topic_that_is_gone_holds_back_its_own_keys_until_it_is_there_again() {
    let setup = with_a_small_topic("heldgone").await;
    let relay = setup.start_with(setup.config("relay")).await;
    say_as("heldgone", &relay, &[event(&setup, SMALL, "key-0", 0, 10), event(&setup, LARGE, "key-0", 0, 10)]).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 1).await;
    let (small, large) = (setup.topic(SMALL), setup.topic(LARGE));
    let deleted =
        admin(&setup.servers.kafka).delete_topics(&[&small], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(deleted[0].is_ok(), "{deleted:?}");
    for n in 1..4 {
        let both = |key: usize| [SMALL, LARGE].map(|topic| event(&setup, topic, &format!("key-{key}"), n, 10));
        say_as("heldgone", &relay, &(0..10).flat_map(both).collect::<Vec<_>>()).await;
    }
    records(&setup.servers.kafka, &large, 31).await;
    held(&setup, "heldgone", 10, 30).await;
    eventually("the topic is there again", async || {
        let topic = NewTopic::new(&small, 4, TopicReplication::Fixed(1));
        let made =
            admin(&setup.servers.kafka).create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
        if made[0].is_ok() { Ok(()) } else { Err(made) }
    })
    .await;
    records(&setup.servers.kafka, &small, 30).await;
    held(&setup, "heldgone", 0, 0).await;
    assert_eq!(numbers(&setup, SMALL).await, (0..10).map(|key| (format!("key-{key}"), vec![1, 2, 3])).collect());
}

/// The worst moment, as for the outbox: a held event is committed in Kafka, the database doesn't know, and the relay dies.
#[tokio::test]
async fn a_held_event_is_not_published_again_after_a_crash() {
    let setup = with_a_small_topic("heldcrash").await;
    let database = setup.admin("heldcrash").await;
    let relay = setup.start_with(small(&setup, "first")).await;
    say_as("heldcrash", &relay, &[event(&setup, SMALL, "bad", 0, 9000), event(&setup, SMALL, "bad", 1, 10)]).await;
    held(&setup, "heldcrash", 1, 2).await;
    let settle =
        "ALTER FUNCTION towpath.held_settle(smallint, text, bigint, bigint[], bigint[], text[], bigint[]) RENAME TO";
    let rename = |from: &str, to: &str| settle.replacen("held_settle", from, 1) + " " + to;
    database.batch_execute(&rename("held_settle", "settle_away")).await.expect("renames");
    mend(&setup).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 1).await;
    relay.crash();
    database.batch_execute(&rename("settle_away", "held_settle")).await.expect("renames");
    let next = setup.start().await;
    say_as("heldcrash", &next, &[event(&setup, SMALL, "bad", 2, 10)]).await;
    records(&setup.servers.kafka, &setup.topic(SMALL), 3).await;
    held(&setup, "heldcrash", 0, 0).await;
    assert_eq!(numbers(&setup, SMALL).await, of("bad", &[0, 1, 2]));
    // They are kept for as long as others, each once.
    let sql = "SELECT seq FROM towpath.outbox WHERE published_at IS NOT NULL";
    let rows = database.query(sql, &[]).await.expect("the outbox");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<BTreeSet<i64>>(), BTreeSet::from([1, 2, 3]));
}
