//! Values that are right each by itself, and can never work, or not together.
//!
//! What can't work is a fault. What works, but hardly as it is meant, is a warning.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::config::ClientConfig;

use super::kept::Kept;
use super::own_topics::{self, record_bytes};
use super::reader::{Reader, Section};
use super::{Config, KafkaConfig, Limits, Secret, ServiceConfig, TopicConfig};

/// Limits that count for the whole relay.
const OF_THE_RELAY: [&str; 5] =
    ["admin_connections", "connections", "header_bytes", "header_read_timeout_ms", "write_timeout_ms"];

/// Settings of librdkafka on which the relay's promises rest: it sets them itself.
const OWN_PROPERTIES: [&str; 20] = [
    "acks",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "message.max.bytes",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "receive.message.max.bytes",
    "session.timeout.ms",
    "transactional.id",
];

/// Settings of a topic that are numbers.
const NUMBERS: [&str; 7] = [
    "max.message.bytes",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
    "delete.retention.ms",
];

/// Limits that contradict each other. Only what the section itself says can be at fault.
pub(super) fn limits(section: &Section<'_, '_>, limits: &Limits) {
    if section.has("event_bytes") && limits.event_bytes > limits.body_bytes {
        let body = limits.body_bytes;
        section.fault("event_bytes", format!("is more than body_bytes ({body}): no request could carry such an event"));
    }
    let pairs = [
        ("lock_timeout_ms", limits.lock_timeout_ms, "statement_timeout_ms", limits.statement_timeout_ms),
        ("wait_look_ms", limits.wait_look_ms, "wait_timeout_ms", limits.wait_timeout_ms),
    ];
    for (shorter, short, longer, long) in pairs {
        if short >= long
            && let Some(key) = [shorter, longer].into_iter().find(|key| section.has(key))
        {
            section.warning(key, format!("{shorter} ({short}) never comes: {longer} ({long}) is no longer"));
        }
    }
    if section.has("delivery_lanes") && limits.delivery_lanes > limits.delivery_buffer {
        let buffer = limits.delivery_buffer;
        section
            .warning("delivery_lanes", format!("is more than delivery_buffer ({buffer}), so they are never all used"));
    }
}

/// Limits of a service that only the relay as a whole can have.
pub(super) fn limits_of_a_service(section: &Section<'_, '_>) {
    for key in OF_THE_RELAY.into_iter().filter(|key| section.has(key)) {
        section.fault(key, "counts for the whole relay; set it under [limits]");
    }
}

/// Settings of a topic that Kafka would refuse, or with which it takes no event.
pub(super) fn topic(section: &Section<'_, '_>, topic: &TopicConfig) {
    for (name, value) in &topic.settings {
        if NUMBERS.contains(&name.as_str()) && value.parse::<i64>().is_err() {
            section.fault(name, format!("must be a whole number in a string, not {value:?}"));
        }
    }
    let in_sync = topic.settings.get("min.insync.replicas").and_then(|value| value.parse::<u16>().ok());
    if in_sync.is_some_and(|in_sync| in_sync > topic.replication_factor) {
        let factor = topic.replication_factor;
        section.fault(
            "min.insync.replicas",
            format!("is more than replication_factor ({factor}): Kafka would take no event"),
        );
    }
}

/// Settings of librdkafka that it doesn't know, or that the relay sets itself.
pub(super) fn properties(section: &Section<'_, '_>, properties: &BTreeMap<String, Secret>) {
    for (name, value) in properties {
        if OWN_PROPERTIES.contains(&name.as_str()) {
            section.fault(name, "is set by the relay itself");
        } else if ClientConfig::new().set(name, value.expose()).create_native_config().is_err() {
            section.fault(name, "librdkafka doesn't have this setting, or doesn't take this value for it");
        }
    }
}

/// Settings of librdkafka that would have all clients log in as one user, beside users that are named.
pub(super) fn properties_beside_a_login(section: &Section<'_, '_>, properties: &BTreeMap<String, Secret>) {
    for name in ["sasl.username", "sasl.password"].into_iter().filter(|name| properties.contains_key(*name)) {
        section.fault(name, "is said by user and password under [kafka] already");
    }
}

/// What spans several sections.
pub(super) fn check(reader: &Reader<'_>, config: &Config) {
    let Some(kafka) = &config.kafka else { return };
    own_topics(reader, config, kafka);
    unused_topics(reader, config, kafka);
    for service in config.services.values() {
        sizes(reader, config, kafka, service);
        retention(reader, kafka, service);
    }
}

/// The relay's own topics have names that no other topic may have.
fn own_topics(reader: &Reader<'_>, config: &Config, kafka: &KafkaConfig) {
    for service in config.services.values() {
        let of =
            |topic: &str| [own_topics::dead_letters(topic, &service.name), own_topics::retries(topic, &service.name)];
        let mut own: BTreeSet<String> = service.subscriptions.iter().flat_map(|heard| of(&heard.topic)).collect();
        own.insert(own_topics::journal(&kafka.prefix, &service.name));
        for name in own {
            if kafka.topics.contains_key(&name) {
                let message = format!("is the name of a topic that the relay makes for {} itself", service.name);
                reader.fault(None, format!("kafka.topics.{name:?}"), message);
            }
        }
    }
}

fn unused_topics(reader: &Reader<'_>, config: &Config, kafka: &KafkaConfig) {
    let is_used =
        |name: &String| config.services.values().any(|service| service.publish.contains(name) || service.hears(name));
    for name in kafka.topics.keys().filter(|name| !is_used(name)) {
        reader.warning(
            None,
            format!("kafka.topics.{name:?}"),
            "is declared, but no service publishes to it or hears it",
        );
    }
}

/// What one service may publish, its subscribers must be able to get.
fn sizes(reader: &Reader<'_>, config: &Config, kafka: &KafkaConfig, publisher: &ServiceConfig) {
    let largest = record_bytes(publisher.limits.event_bytes);
    for topic in &publisher.publish {
        let most = kafka.topics.get(topic).and_then(TopicConfig::max_message_bytes);
        if most.is_some_and(|most| most < largest) {
            let message = format!(
                "is less than an event of {} may have ({largest}, by event_bytes): Kafka refuses larger ones",
                publisher.name
            );
            reader.warning(None, format!("kafka.topics.{topic:?}.settings.\"max.message.bytes\""), message);
        }
        for service in config.services.values().filter(|service| service.hears(topic)) {
            let most = service.limits.delivery_bytes;
            if most < largest {
                let message = format!(
                    "({most}) is less than an event of {} on {topic:?} may have ({largest}, by event_bytes); raise it",
                    publisher.name
                );
                reader.fault(None, format!("services.{}.limits.delivery_bytes", service.name), message);
            }
        }
    }
}

/// What relay.toml itself says of how long a topic keeps events, beside how long the inbox remembers them.
fn retention(reader: &Reader<'_>, kafka: &KafkaConfig, service: &ServiceConfig) {
    if service.postgres.is_none() {
        return;
    }
    let remembered = service.limits.inbox_retention_ms;
    let heard: BTreeSet<&String> = service.subscriptions.iter().map(|heard| &heard.topic).collect();
    for name in heard {
        let Some(topic) = kafka.topics.get(name) else { continue };
        let Some(longer) = Kept::declared(&topic.settings).and_then(|kept| kept.longer_than(remembered)) else {
            continue;
        };
        let path = format!("services.{}.limits.inbox_retention_ms", service.name);
        let message = format!("{name:?} {longer}");
        match longer.enough_ms() {
            Some(_) => reader.fault(None, path, message),
            None => reader.warning(None, path, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_whole_relay_are_those_that_say_so() {
        let said = Limits::ALL.iter().filter(|(.., meaning)| meaning.contains("For the whole relay"));
        assert_eq!(said.map(|(name, ..)| *name).collect::<BTreeSet<_>>(), BTreeSet::from(OF_THE_RELAY));
    }
}
