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
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::config::kept::{self, Kept};
use crate::config::own_topics::{self, MAX_ADDED_BYTES};
use crate::config::{Config, KafkaConfig, ServiceConfig, TopicConfig};
use crate::kafka::{self, Log, REQUEST_TIMEOUT};
use crate::turns::Turns;

use super::lazy::Lazy;
use known::Seen;

pub use crate::config::own_topics::{dead_letters, retries};
pub(crate) use known::Topics;

/// Partitions of a journal. Publishers spread over them, so that one that dies inside a transaction holds up few.
pub const JOURNAL_PARTITIONS: u32 = 4;
/// The largest record that Kafka takes, unless a topic's settings say otherwise.
const MAX_KAFKA_RECORD_BYTES: usize = 1_048_588;
/// What topics are created and looked at with.
type Admin = Lazy<AdminClient<Log>>;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// The journal of a service's publishers.
#[must_use]
pub(crate) fn journal(kafka: &KafkaConfig, service: &str) -> String {
    own_topics::journal(&kafka.prefix, service)
}

/// The consumer group of a service.
#[must_use]
pub(crate) fn group(kafka: &KafkaConfig, service: &str) -> String {
    format!("{}.{service}", kafka.prefix)
}

/// All topics that the relay makes.
pub(super) fn names(config: &Config, kafka: &KafkaConfig) -> impl Iterator<Item = String> {
    wanted(config, kafka).into_iter().map(|topic| topic.name)
}

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    partitions: u32,
    replication_factor: u16,
    /// An existing topic should have them too.
    settings: BTreeMap<String, String>,
    /// What it is created with beside them.
    made_with: BTreeMap<String, String>,
}

/// A topic that keeps events for longer than the inbox of a service remembers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLonger {
    /// The service.
    pub service: String,
    /// The topic.
    pub topic: String,
    /// What that means and what to change, as a sentence about the topic.
    pub said: String,
}

/// Who is told of the topics.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// What this relay knows of them.
    pub(crate) topics: &'a Topics,
    /// What `/readyz` says.
    pub(crate) health: &'a Board,
    /// Counts the looks.
    pub(crate) turns: &'a Turns,
}

/// Creates missing topics until all are there, or `stop` is cancelled. A topic that Kafka refuses stays alone: `topics` and
/// `/readyz` say so until it is there.
///
/// `longer` is told of each topic that keeps events for longer than an inbox remembers them.
pub(crate) async fn keep_trying(
    config: &Config,
    told: Told<'_>,
    stop: &CancellationToken,
    longer: impl Fn(KeptLonger),
) {
    let Told { topics, health, turns } = told;
    let Some(kafka) = &config.kafka else { return };
    let mut open = wanted(config, kafka);
    let mut failures = BACKOFF.failures();
    let mut last_cause = String::new();
    let mut admin = admin(kafka);
    loop {
        turns.turn();
        // Kafka may take longer to answer than the relay has for its stop.
        let Some(looked) = stop.run_until_cancelled(look(config, &mut admin, &open)).await else { return };
        let (seen, cause) = match looked {
            Ok(looked) => {
                looked.longer.into_iter().for_each(&longer);
                (looked.seen, String::new())
            }
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
    let Some(&seen) = seen else { return true };
    topics.note(topic, seen);
    match seen {
        Seen::There => health.clear(&entry),
        Seen::Refused(code) => {
            let cause = KafkaError::AdminOp(code);
            health.trouble(&entry, &format!("Kafka refuses to create it, and what uses it waits: {cause}"));
        }
    }
    seen != Seen::There
}

/// What a look at the topics found.
struct Looked {
    seen: BTreeMap<String, Seen>,
    longer: Vec<KeptLonger>,
}

/// Creates missing topics, and logs where existing ones differ from relay.toml. Answers which topics keep events for longer than
/// an inbox remembers them: also those that were created, if relay.toml says so.
///
/// # Errors
/// If Kafka doesn't answer, or refuses a topic.
pub async fn ensure(config: &Config, kafka: &KafkaConfig) -> anyhow::Result<Vec<KeptLonger>> {
    let looked = look(config, &mut admin(kafka), &wanted(config, kafka)).await?;
    for (topic, seen) in looked.seen {
        if let Seen::Refused(code) = seen {
            anyhow::bail!("the topic {topic} was refused: {}", KafkaError::AdminOp(code));
        }
    }
    Ok(looked.longer)
}

/// One client for all tries.
fn admin(kafka: &KafkaConfig) -> Admin {
    let config = kafka::client(kafka, "admin");
    Lazy::new(move || config.create_with_context(Log::new("admin")))
}

async fn look(config: &Config, admin: &mut Admin, wanted: &[Wanted]) -> anyhow::Result<Looked> {
    let admin = admin.get()?;
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
    let longer = check_settings(&admin, config, &there).await;
    Ok(Looked { seen, longer })
}

fn wanted(config: &Config, kafka: &KafkaConfig) -> Vec<Wanted> {
    let mut all = Vec::new();
    let largest = config.services.values().map(|service| kafka::record_bytes(service.limits.event_bytes)).max();
    let largest = largest.unwrap_or_default();
    for (name, topic) in &kafka.topics {
        let sized = (largest > MAX_KAFKA_RECORD_BYTES).then(|| ("max.message.bytes".to_owned(), largest.to_string()));
        let mut settings: BTreeMap<String, String> = sized.into_iter().collect();
        settings.extend(topic.settings.clone());
        let made_with = kept::settings(inboxes(config, name), &topic.settings);
        let (partitions, replication_factor) = (topic.partitions, topic.replication_factor);
        all.push(Wanted { name: name.clone(), partitions, replication_factor, settings, made_with });
    }
    for service in config.services.values() {
        for (topic, replication_factor) in subscribed(service, kafka) {
            // Whatever the topic takes, with what a letter adds.
            let declared = kafka.topics.get(topic).and_then(TopicConfig::max_message_bytes);
            let most = declared.unwrap_or(MAX_KAFKA_RECORD_BYTES).max(largest) + MAX_ADDED_BYTES;
            let sized = BTreeMap::from([("max.message.bytes".to_owned(), most.to_string())]);
            let name = dead_letters(topic, &service.name);
            let settings = BTreeMap::from([("retention.ms".into(), "-1".into())]);
            all.push(Wanted { name, partitions: 1, replication_factor, settings, made_with: sized.clone() });
            let mut made_with = kept::settings(inbox(service).into_iter(), &BTreeMap::new());
            made_with.extend(sized);
            let name = retries(topic, &service.name);
            all.push(Wanted { name, partitions: 1, replication_factor, settings: BTreeMap::new(), made_with });
        }
        if let Some(replication_factor) = service.publish.iter().filter_map(|t| replicas(kafka, t)).max() {
            let name = journal(kafka, &service.name);
            let (partitions, settings, made_with) = (JOURNAL_PARTITIONS, journal_settings(), BTreeMap::new());
            all.push(Wanted { name, partitions, replication_factor, settings, made_with });
        }
    }
    all
}

/// How long the inboxes remember that hear a topic.
fn inboxes<'a>(config: &'a Config, topic: &'a str) -> impl Iterator<Item = u64> {
    config.services.values().filter(move |service| hears(service, topic)).filter_map(inbox)
}

/// How long a service's inbox remembers, if it has one.
fn inbox(service: &ServiceConfig) -> Option<u64> {
    service.postgres.is_some().then_some(service.limits.inbox_retention_ms)
}

/// Whether a service hears a topic, as a subscription names it or for its replayed letters.
fn hears(service: &ServiceConfig, topic: &str) -> bool {
    let is_retried = |heard: &str| retries(heard, &service.name) == topic;
    service.hears(topic) || service.subscriptions.iter().any(|subscription| is_retried(&subscription.topic))
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

async fn partitions(admin: &Arc<AdminClient<Log>>) -> anyhow::Result<BTreeMap<String, u32>> {
    let admin = Arc::clone(admin);
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
            topic.settings.iter().chain(&topic.made_with).fold(new, |new, (name, value)| new.set(name, value))
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

/// Logs where settings differ, and where Kafka keeps events longer than the inbox remembers them.
async fn check_settings(admin: &AdminClient<Log>, config: &Config, wanted: &[&Wanted]) -> Vec<KeptLonger> {
    let specifiers: Vec<ResourceSpecifier<'_>> =
        wanted.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let resources = match admin.describe_configs(&specifiers, &options).await {
        Ok(resources) => resources,
        Err(error) => {
            unread("all", &error);
            return Vec::new();
        }
    };
    let mut longer = Vec::new();
    for (topic, resource) in wanted.iter().zip(resources) {
        let resource = match resource {
            Ok(resource) => resource,
            Err(code) => {
                unread(&topic.name, &KafkaError::AdminOp(code));
                continue;
            }
        };
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref());
        for (setting, declared) in &topic.settings {
            let actual = value(setting);
            if actual.is_some_and(|actual| actual != declared) {
                tracing::warn!(
                    topic = topic.name,
                    setting,
                    declared,
                    actual,
                    "a setting of the topic differs from relay.toml; the relay leaves it as it is"
                );
            }
        }
        longer.extend(kept_longer(config, &topic.name, Kept::of(value)));
    }
    longer
}

fn unread(topic: &str, error: &KafkaError) {
    tracing::warn!(
        topic,
        cause = %error,
        "the settings of a topic can't be read; the relay doesn't know how long Kafka keeps its events"
    );
}

/// The services whose inbox remembers less of a topic than Kafka keeps.
fn kept_longer(config: &Config, topic: &str, kept: Kept) -> Vec<KeptLonger> {
    let mut longer = Vec::new();
    for service in config.services.values().filter(|service| hears(service, topic)) {
        let Some(said) = inbox(service).and_then(|remembered| kept.longer_than(remembered)) else { continue };
        let (service, said) = (service.name.clone(), said.to_string());
        tracing::warn!(topic, service, cause = said, "Kafka keeps events longer than the inbox keeps their ids");
        longer.push(KeptLonger { service, topic: topic.to_owned(), said });
    }
    longer
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
        assert_eq!(wanted[0].made_with["retention.ms"], "604800000", "less than the inbox, with its segments");
        assert_eq!((wanted[2].made_with["retention.ms"].as_str(), wanted[2].made_with.len()), ("604800000", 3));
        let more = MAX_KAFKA_RECORD_BYTES + MAX_ADDED_BYTES;
        assert_eq!(wanted[1].made_with["max.message.bytes"], more.to_string(), "what the topic takes, and more");
        assert_eq!(wanted[1].settings["retention.ms"], "-1");
        assert_eq!(wanted[3].settings["cleanup.policy"], "compact");
    }
}
