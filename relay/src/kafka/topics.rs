//! Topics: those that relay.toml declares, and the relay's own.
//!
//! | topic | partitions | what it holds |
//! |---|---|---|
//! | `T` | as declared | events; declared under `[kafka.topics."T"]` |
//! | `T.S.dlq` | 1 | dead letters of service S, which subscribes to T; kept until they are replayed or dropped |
//! | `T.S.retry` | 1 | replayed dead letters; the group of S consumes it beside T |
//! | `PREFIX.S.outbox` | 4 | the journal of S's publishers; compacted. See [`crate::events::outbox`] |
//!
//! The relay never changes a topic that exists. If one has another number of partitions than declared, it logs a warning: Kafka
//! can't take partitions away, and adding some moves keys to other partitions, where their new events may overtake old ones. An
//! operator decides on that, at a quiet moment.
//!
//! A topic that Kafka refuses to create (too few brokers for its replicas, partitions or settings that it doesn't take, missing
//! rights) is asked for again and again. Meanwhile only what uses it waits: a service whose journal it is publishes nothing, the
//! events of a topic wait in the outbox, subscriptions of it get nothing.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{Config, KafkaConfig, ServiceConfig};
use crate::health::Board;
use crate::kafka::{self, Log, REQUEST_TIMEOUT};

pub(crate) use known::Topics;

/// Partitions of a journal. Publishers spread over them, so that one that dies inside a transaction holds up few.
pub const JOURNAL_PARTITIONS: u32 = 4;
/// The largest record that Kafka takes, unless a topic's settings say otherwise.
const KAFKA_RECORD_BYTES: usize = 1_048_588;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// The dead letter topic of a service that subscribes to `topic`.
#[must_use]
pub fn dead_letters(topic: &str, service: &str) -> String {
    format!("{topic}.{service}.dlq")
}

/// The topic of replayed dead letters of a service that subscribes to `topic`.
#[must_use]
pub fn retries(topic: &str, service: &str) -> String {
    format!("{topic}.{service}.retry")
}

/// The journal of a service's publishers.
#[must_use]
pub(crate) fn journal(kafka: &KafkaConfig, service: &str) -> String {
    format!("{}.{service}.outbox", kafka.prefix)
}

/// The consumer group of a service.
#[must_use]
pub(crate) fn group(kafka: &KafkaConfig, service: &str) -> String {
    format!("{}.{service}", kafka.prefix)
}

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    partitions: u32,
    replication_factor: u16,
    settings: BTreeMap<String, String>,
}

/// Creates missing topics until all are there, or `stop` is cancelled. A topic that Kafka refuses stays alone: `topics` and
/// `/readyz` say so until it is there.
pub(crate) async fn keep_trying(config: &Config, topics: &Topics, health: &Board, stop: &CancellationToken) {
    let Some(kafka) = &config.kafka else { return };
    let mut open = wanted(config, kafka);
    let mut failures = BACKOFF.failures();
    let mut last_cause = String::new();
    loop {
        let (seen, cause) = match look(config, kafka, &open).await {
            Ok(seen) => (seen, String::new()),
            Err(cause) => (BTreeMap::new(), format!("{cause:#}")),
        };
        open.retain(|topic| tell(&topic.name, seen.get(&topic.name), topics, health));
        if open.is_empty() {
            return;
        }
        let wait = failures.next();
        if !cause.is_empty() && cause != last_cause {
            let retry_in_ms = wait.as_millis() as u64;
            tracing::warn!(cause, retry_in_ms, "creating or checking the Kafka topics failed; retrying");
        }
        last_cause = cause;
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Whether a topic must be asked for again, after Kafka said this of it.
fn tell(topic: &str, seen: Option<&Seen>, topics: &Topics, health: &Board) -> bool {
    let entry = format!("topic.{topic}");
    match seen {
        None => return true,
        Some(Seen::There) => {
            topics.is_there(topic);
            health.clear(&entry);
        }
        Some(Seen::Refused(code)) => {
            topics.is_refused(topic);
            let cause = KafkaError::AdminOp(*code);
            health.trouble(&entry, &format!("Kafka refuses to create it, and what uses it waits: {cause}"));
        }
    }
    seen != Some(&Seen::There)
}

/// What Kafka said of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    There,
    Refused(RDKafkaErrorCode),
}

/// Creates missing topics, and logs where existing ones differ from relay.toml.
///
/// # Errors
/// If Kafka doesn't answer, or refuses a topic.
pub async fn ensure(config: &Config, kafka: &KafkaConfig) -> anyhow::Result<()> {
    for (topic, seen) in look(config, kafka, &wanted(config, kafka)).await? {
        if let Seen::Refused(code) = seen {
            anyhow::bail!("the topic {topic} was refused: {}", KafkaError::AdminOp(code));
        }
    }
    Ok(())
}

async fn look(config: &Config, kafka: &KafkaConfig, wanted: &[Wanted]) -> anyhow::Result<BTreeMap<String, Seen>> {
    let admin: AdminClient<Log> = kafka::client(kafka, "admin").create_with_context(Log::new("admin"))?;
    let admin = std::sync::Arc::new(admin);
    let existing = partitions(&admin).await?;
    let missing: Vec<&Wanted> = wanted.iter().filter(|topic| !existing.contains_key(&topic.name)).collect();
    let mut seen = create(&admin, &missing).await?;
    for topic in wanted {
        if let Some(&actual) = existing.get(&topic.name) {
            compare(topic, actual);
            seen.insert(topic.name.clone(), Seen::There);
        }
    }
    let there: Vec<&Wanted> = wanted.iter().filter(|topic| seen.get(&topic.name) == Some(&Seen::There)).collect();
    check_settings(&admin, config, &there).await;
    kafka::dispose(admin);
    Ok(seen)
}

fn wanted(config: &Config, kafka: &KafkaConfig) -> Vec<Wanted> {
    let mut all = Vec::new();
    let largest = config.services.values().map(|service| kafka::record_bytes(service.limits.event_bytes)).max();
    let sized = |extra: usize| {
        let bytes = largest.unwrap_or_default() + extra;
        (bytes > KAFKA_RECORD_BYTES).then(|| ("max.message.bytes".to_owned(), bytes.to_string()))
    };
    for (name, topic) in &kafka.topics {
        let mut settings: BTreeMap<String, String> = sized(0).into_iter().collect();
        settings.extend(topic.settings.clone());
        let (partitions, replication_factor) = (topic.partitions, topic.replication_factor);
        all.push(Wanted { name: name.clone(), partitions, replication_factor, settings });
    }
    for service in config.services.values() {
        for (topic, replication_factor) in subscribed(service, kafka) {
            let name = dead_letters(topic, &service.name);
            let settings = sized(64 << 10).into_iter().chain([("retention.ms".into(), "-1".into())]).collect();
            all.push(Wanted { name, partitions: 1, replication_factor, settings });
            let settings = sized(64 << 10).into_iter().collect();
            all.push(Wanted { name: retries(topic, &service.name), partitions: 1, replication_factor, settings });
        }
        if let Some(replication_factor) = service.publish.iter().filter_map(|t| replicas(kafka, t)).max() {
            let name = journal(kafka, &service.name);
            let settings = journal_settings();
            all.push(Wanted { name, partitions: JOURNAL_PARTITIONS, replication_factor, settings });
        }
    }
    all
}

/// Only the last record of each publisher counts: small segments, compacted often.
fn journal_settings() -> BTreeMap<String, String> {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "4194304"),
        ("segment.ms", "600000"),
        ("min.cleanable.dirty.ratio", "0.2"),
        ("delete.retention.ms", "600000"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn subscribed<'a>(service: &'a ServiceConfig, kafka: &KafkaConfig) -> BTreeMap<&'a str, u16> {
    let topics: BTreeSet<&str> = service.subscriptions.iter().map(|s| s.topic.as_str()).collect();
    topics.into_iter().filter_map(|topic| Some((topic, replicas(kafka, topic)?))).collect()
}

fn replicas(kafka: &KafkaConfig, topic: &str) -> Option<u16> {
    kafka.topics.get(topic).map(|topic| topic.replication_factor)
}

async fn partitions(admin: &std::sync::Arc<AdminClient<Log>>) -> anyhow::Result<BTreeMap<String, u32>> {
    let admin = std::sync::Arc::clone(admin);
    let metadata = kafka::blocking(move || admin.inner().fetch_metadata(None, REQUEST_TIMEOUT)).await?;
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect())
}

/// Answers what became of each topic that Kafka decided on. One that it could not decide on now is left out.
async fn create(admin: &AdminClient<Log>, missing: &[&Wanted]) -> anyhow::Result<BTreeMap<String, Seen>> {
    let mut seen = BTreeMap::new();
    if missing.is_empty() {
        return Ok(seen);
    }
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|topic| {
            let replication = TopicReplication::Fixed(topic.replication_factor.into());
            let new = NewTopic::new(&topic.name, topic.partitions as i32, replication);
            topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let options =
        AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT * 2));
    for result in admin.create_topics(&new, &options).await? {
        match result {
            Ok(topic) => {
                tracing::info!(topic, "created the topic");
                seen.insert(topic, Seen::There);
            }
            // Another relay created it meanwhile.
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => drop(seen.insert(topic, Seen::There)),
            Err((topic, code)) if is_passing(code) => {
                tracing::debug!(topic, %code, "Kafka can't create the topic now");
            }
            Err((topic, code)) => drop(seen.insert(topic, Seen::Refused(code))),
        }
    }
    Ok(seen)
}

/// Whether Kafka, and not the topic, is the reason.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        LeaderNotAvailable, NetworkException, NotController, OperationTimedOut, RequestTimedOut,
        ThrottlingQuotaExceeded,
    };
    matches!(
        code,
        LeaderNotAvailable
            | NetworkException
            | NotController
            | OperationTimedOut
            | RequestTimedOut
            | ThrottlingQuotaExceeded
    )
}

fn compare(topic: &Wanted, actual: u32) {
    let (name, declared) = (topic.name.as_str(), topic.partitions);
    if actual < declared {
        tracing::warn!(
            topic = name,
            declared,
            actual,
            "the topic has fewer partitions than declared; the relay uses it as it is"
        );
    } else if actual > declared {
        tracing::warn!(
            topic = name,
            declared,
            actual,
            "the topic has more partitions than declared; the relay uses it as it is"
        );
    }
}

/// Logs where settings differ, and where Kafka keeps events longer than the inbox keeps their ids.
async fn check_settings(admin: &AdminClient<Log>, config: &Config, wanted: &[&Wanted]) {
    let specifiers: Vec<ResourceSpecifier<'_>> =
        wanted.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let Ok(resources) = admin.describe_configs(&specifiers, &options).await else { return };
    for (topic, resource) in wanted.iter().zip(resources) {
        let Ok(resource) = resource else { continue };
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
        for (setting, declared) in &topic.settings {
            let actual = value(setting);
            if actual.as_ref().is_some_and(|actual| actual != declared) {
                tracing::warn!(
                    topic = topic.name,
                    setting,
                    declared,
                    actual,
                    "a setting of the topic differs from relay.toml; the relay leaves it as it is"
                );
            }
        }
        check_retention(config, &topic.name, value("retention.ms").and_then(|text| text.parse().ok()));
    }
}

fn check_retention(config: &Config, topic: &str, retention_ms: Option<i64>) {
    let Some(retention_ms) = retention_ms else { return };
    for service in config.services.values().filter(|s| s.subscriptions.iter().any(|sub| sub.topic == topic)) {
        let inbox_retention_ms = service.limits.inbox_retention_ms;
        if u64::try_from(retention_ms).is_ok_and(|kept| kept < inbox_retention_ms) {
            continue;
        }
        tracing::warn!(
            topic,
            service = service.name,
            retention_ms,
            inbox_retention_ms,
            "Kafka keeps events longer than the inbox keeps their ids"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_topic_that_is_needed_is_wanted_once() {
        let text = r#"
            [redis]
            url = "redis://127.0.0.1:1"
            [kafka]
            brokers = "127.0.0.1:1"
            prefix = "p"
            [kafka.topics."x"]
            partitions = 3
            replication_factor = 2
            [services.alpha]
            token = "0123456789abcdef0123456789abcdef"
            [services.alpha.postgres]
            url = "postgres://a:a@127.0.0.1:1/a"
            relay_url = "postgres://b:b@127.0.0.1:1/a"
            [services.alpha.publish]
            topics = ["x"]
            [services.alpha.component]
            url = "http://127.0.0.1:1/_relay/alpha"
            token = "0123456789abcdef0123456789abcdeg"
            [[services.alpha.subscriptions]]
            topic = "x"
            types = ["a"]
            route = "/a"
            [[services.alpha.subscriptions]]
            topic = "x"
            types = ["b"]
            route = "/b"
        "#;
        let config = Config::parse("test", text, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        let wanted = wanted(&config, config.kafka.as_ref().unwrap());
        let seen: Vec<(&str, u32, u16)> =
            wanted.iter().map(|w| (w.name.as_str(), w.partitions, w.replication_factor)).collect();
        let expected =
            [("x", 3, 2), ("x.alpha.dlq", 1, 2), ("x.alpha.retry", 1, 2), ("p.alpha.outbox", JOURNAL_PARTITIONS, 2)];
        assert_eq!(seen, expected);
        assert_eq!(wanted[1].settings["retention.ms"], "-1");
        assert_eq!(wanted[3].settings["cleanup.policy"], "compact");
    }
}
