//! `docs/events.md` against what `relay.toml` and the components say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use towpath_component_testing::{
    events::{Documented, documented},
    sources,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn relay_toml() -> Table {
    let text = std::fs::read_to_string(root().join("relay.toml")).expect("relay.toml");
    text.parse().expect("relay.toml is TOML")
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().expect("a text").to_owned()).collect()
}

fn services(relay: &Table) -> impl Iterator<Item = (&String, &Value)> {
    relay["services"].as_table().expect("services").iter()
}

#[test]
fn no_event_is_listed_twice() {
    let rows = documented();
    let kinds: BTreeSet<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert!(!kinds.is_empty());
    assert_eq!(kinds.len(), rows.len());
}

#[test]
fn the_list_and_relay_toml_name_the_same_subscriptions() {
    let relay = relay_toml();
    let mut subscribed = BTreeSet::new();
    for (service, value) in services(&relay) {
        for subscription in value.get("subscriptions").and_then(Value::as_array).into_iter().flatten() {
            let topic = subscription["topic"].as_str().expect("a topic").to_owned();
            let types = texts(subscription.get("types"));
            subscribed.extend(types.into_iter().map(|kind| (service.clone(), topic.clone(), kind)));
        }
    }
    let heard = |Documented { kind, topic, hearers, .. }: Documented| {
        hearers.into_iter().map(move |service| (service, topic.clone(), kind.clone())).collect::<Vec<_>>()
    };
    let listed: BTreeSet<_> = documented().into_iter().flat_map(heard).collect();
    assert_eq!(listed, subscribed, "docs/events.md (left) and the subscriptions of relay.toml (right)");
}

#[test]
fn the_list_and_relay_toml_name_the_same_topics_and_publishers() {
    let relay = relay_toml();
    let publish = |value: &Value| texts(value.get("publish").and_then(|publish| publish.get("topics")));
    let allowed: BTreeSet<(String, String)> = services(&relay)
        .flat_map(|(service, value)| publish(value).into_iter().map(|topic| (service.clone(), topic)))
        .collect();
    let listed: BTreeSet<_> = documented().into_iter().map(|row| (row.publisher, row.topic)).collect();
    assert_eq!(
        listed, allowed,
        "docs/events.md (left) and the topics that relay.toml lets services publish to (right)"
    );
}

/// Whether a text is the name of what a client repeats under its key: such a name looks like a type of event.
fn is_operation(file: &Path, text: &str) -> bool {
    let source = std::fs::read_to_string(file).expect("a source");
    source.contains(&format!("\nconst OPERATION: &str = {text:?};\n"))
}

#[test]
fn the_components_know_the_events_that_the_list_gives_them() {
    let rows = documented();
    let topics: BTreeSet<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    let subjects: BTreeSet<&str> = rows.iter().filter_map(|row| Some(row.kind.split_once('.')?.0)).collect();
    let relay = relay_toml();
    for (service, _) in services(&relay) {
        let concerns = |row: &&Documented| row.publisher == *service || row.hearers.contains(service);
        let listed: BTreeSet<String> = rows.iter().filter(concerns).map(|row| row.kind.clone()).collect();
        let is_type = |text: &String| {
            text.split_once('.').is_some_and(|(subject, what)| {
                subjects.contains(subject)
                    && !what.is_empty()
                    && what.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            }) && !topics.contains(text.as_str())
        };
        let texts = sources::texts(&root().join("components").join(service).join("src"));
        let known: BTreeMap<String, PathBuf> = texts
            .into_iter()
            .filter(|(file, text)| is_type(text) && !is_operation(file, text))
            .map(|(file, text)| (text, file))
            .collect();
        let kinds: BTreeSet<String> = known.keys().cloned().collect();
        assert_eq!(kinds, listed, "types in the sources of {service} (left, {known:?}) and in docs/events.md (right)");
    }
}
