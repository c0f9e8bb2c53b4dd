//! Outbox, deliveries, dead letters, timers and retention against real Kafka and PostgreSQL. One test per rule of relay/src's
//! module docs.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod clocks;

mod dead_letters;
mod delivery;
mod dlq_command;
mod foreign_records;
mod held;
mod kafka;
mod kafka_away;
mod leaders;
mod outbox;
mod outbox_command;
mod processes;
mod raw_produce;
mod rebalance;
mod relay_command;
mod retention;
mod shards;
mod subscriber;
mod timers;
mod topics;
mod traps;
mod watchdog;
mod watched;
mod weight;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{ServiceSetup, Setup, TestRelay};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// The topic that `alpha` publishes to and `beta` hears.
pub(crate) const TOPIC: &str = "things";

/// A setup whose service `alpha` publishes to [`TOPIC`], with these limits.
pub(crate) async fn publishing(limits: &str) -> Setup {
    show_logs();
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    Setup::new().service(alpha).declare(TOPIC).toml(&format!("[limits]\n{limits}")).databases().await
}

/// The same, with a service `beta` whose component hears what is published.
pub(crate) async fn subscribing(component: &str, limits: &str) -> Setup {
    heard_by("beta", component, limits).await
}

/// The same, with another name for the service that hears. Relays of one process share their metrics, so a test that
/// looks at them has a service of its own.
pub(crate) async fn heard_by(name: &str, component: &str, limits: &str) -> Setup {
    show_logs();
    let subscription = format!("[[services.{name}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    let beta = ServiceSetup::new(name).component(component).toml(&subscription);
    let setup = Setup::new().service(alpha).service(beta).declare(TOPIC);
    setup.toml(&format!("[limits]\n{limits}")).databases().await
}

/// An event with a key and a number.
pub(crate) fn event(setup: &Setup, key: &str, n: usize) -> Value {
    json!({"topic": setup.topic(TOPIC), "key": key, "type": "thing.happened", "data": {"n": n}})
}

/// Commits one unit of work with these events.
pub(crate) async fn say(relay: &TestRelay, events: &[Value]) {
    say_as("alpha", relay, events).await;
}

/// The same, as another service.
pub(crate) async fn say_as(service: &str, relay: &TestRelay, events: &[Value]) {
    let answer = relay.transaction(service, json!({"events": events})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Commits `count` events of each of `keys`, one unit of work after another, beginning with the number `from`.
pub(crate) async fn say_numbers(setup: &Setup, relay: &TestRelay, keys: usize, from: usize, count: usize) {
    say_numbers_as("alpha", setup, relay, keys, from, count).await;
}

/// The same, as another service.
pub(crate) async fn say_numbers_as(
    service: &str,
    setup: &Setup,
    relay: &TestRelay,
    keys: usize,
    from: usize,
    count: usize,
) {
    for n in from..from + count {
        let events: Vec<Value> = (0..keys).map(|key| event(setup, &format!("key-{key}"), n)).collect();
        say_as(service, relay, &events).await;
    }
}

/// The numbers of each key, in the order in which `seen` names them.
pub(crate) fn by_key<'a>(seen: impl IntoIterator<Item = (&'a str, usize)>) -> BTreeMap<String, Vec<usize>> {
    let mut keys: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (key, n) in seen {
        keys.entry(key.to_owned()).or_default().push(n);
    }
    keys
}

/// What [`by_key`] says where nothing is missing, doubled or out of order.
pub(crate) fn in_order(keys: usize, count: usize) -> BTreeMap<String, Vec<usize>> {
    (0..keys).map(|key| (format!("key-{key}"), (0..count).collect())).collect()
}

/// Compares per key, and names only the keys that differ.
#[track_caller]
pub(crate) fn assert_same(seen: &BTreeMap<String, Vec<usize>>, expected: &BTreeMap<String, Vec<usize>>) {
    let keys: std::collections::BTreeSet<&String> = seen.keys().chain(expected.keys()).collect();
    let differ = keys.into_iter().filter(|key| seen.get(*key) != expected.get(*key));
    let differ: Vec<_> = differ.map(|key| format!("{key}: {:?}", seen.get(key))).take(3).collect();
    assert!(differ.is_empty(), "differ: {differ:#?}");
}

/// `RUST_LOG` shows what the relays of a test say.
pub(crate) fn show_logs() {
    let lines = fmt::layer().with_test_writer().with_filter(EnvFilter::from_default_env());
    let springs = traps::Springs.with_filter(Targets::new().with_target("towpath_relay", Level::INFO));
    let _ = tracing_subscriber::registry().with(lines).with(springs).try_init();
}
