//! What the users of relay.toml must be allowed in Kafka, and no more: derived from what each service publishes and hears.
//!
//! | user | what | operations |
//! |---|---|---|
//! | of a service | topics that it publishes to | Write |
//! | | topics that it hears | Read |
//! | | its `T.S.retry` | Read, Write |
//! | | its `T.S.dlq` | Read, Write, Delete (of letters that are settled) |
//! | | its journal | Read, Write |
//! | | transactional ids that begin with `PREFIX.S.` | Write |
//! | | the group `PREFIX.S` | Read |
//! | of the relay | all topics of relay.toml, and the relay's own | Create, Describe, DescribeConfigs |
//! | | the `T.S.dlq` of all services, to count letters | Read |
//! | | the group `PREFIX.dlq` | Describe |
//!
//! In Kafka, Read, Write and Delete include Describe. A service without a user of its own works as the relay's.

use std::collections::BTreeSet;

use serde::Serialize;

use super::topics;
use crate::config::{Config, KafkaConfig, ServiceConfig};

/// One operation that a user needs, on a resource of this name or on all whose names begin with it. Its JSON is one line of
/// `towpath-relay kafka-acls --json`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Acl {
    /// The user, without `User:`.
    pub user: String,
    /// `Topic`, `Group` or `TransactionalId`.
    pub resource: &'static str,
    /// The name, or how names begin.
    pub name: String,
    /// `Literal` or `Prefixed`.
    pub pattern: &'static str,
    /// As Kafka's documentation spells it.
    pub operation: &'static str,
}

/// All that the users of this configuration need. Nothing, where nobody logs in.
#[must_use]
pub fn acls(config: &Config) -> BTreeSet<Acl> {
    let mut all = BTreeSet::new();
    let Some(kafka) = &config.kafka else { return all };
    if let Some(login) = &kafka.login {
        relay(config, kafka, &login.user, &mut all);
    }
    for service in config.services.values() {
        if let Some(login) = &kafka.of(service).login {
            of_service(kafka, service, &login.user, &mut all);
        }
    }
    all
}

/// The users of this configuration.
#[must_use]
pub fn users(config: &Config) -> BTreeSet<&str> {
    let relay = config.kafka.iter().filter_map(|kafka| kafka.login.as_ref());
    let services = config.services.values().filter_map(|service| service.kafka.as_ref());
    relay.chain(services).map(|login| login.user.as_str()).collect()
}

fn relay(config: &Config, kafka: &KafkaConfig, user: &str, all: &mut BTreeSet<Acl>) {
    for topic in topics::names(config, kafka) {
        all.extend(["Create", "Describe", "DescribeConfigs"].map(|operation| acl(user, "Topic", &topic, operation)));
    }
    for service in config.services.values() {
        let letters = heard(service).into_iter().map(|topic| topics::dead_letters(topic, &service.name));
        all.extend(letters.map(|letters| acl(user, "Topic", &letters, "Read")));
    }
    all.insert(acl(user, "Group", &kafka.readers, "Describe"));
}

fn of_service(kafka: &KafkaConfig, service: &ServiceConfig, user: &str, all: &mut BTreeSet<Acl>) {
    let name = &service.name;
    let mut topic = |topic: &str, operations: &[&'static str]| {
        all.extend(operations.iter().map(|operation| acl(user, "Topic", topic, operation)));
    };
    for published in &service.publish {
        topic(published, &["Write"]);
    }
    let heard = heard(service);
    for heard in &heard {
        topic(heard, &["Read"]);
        topic(&topics::retries(heard, name), &["Read", "Write"]);
        topic(&topics::dead_letters(heard, name), &["Read", "Write", "Delete"]);
    }
    if !service.publish.is_empty() {
        topic(&topics::journal(kafka, name), &["Read", "Write"]);
    }
    if !service.publish.is_empty() || !heard.is_empty() {
        all.insert(acl(user, "Group", &topics::group(kafka, name), "Read"));
        let ids = acl(user, "TransactionalId", &format!("{}.{name}.", kafka.prefix), "Write");
        all.insert(Acl { pattern: "Prefixed", ..ids });
    }
}

fn heard(service: &ServiceConfig) -> BTreeSet<&str> {
    service.subscriptions.iter().map(|subscription| subscription.topic.as_str()).collect()
}

fn acl(user: &str, resource: &'static str, name: &str, operation: &'static str) -> Acl {
    Acl { user: user.to_owned(), resource, name: name.to_owned(), pattern: "Literal", operation }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
        [redis]
        url = "redis://127.0.0.1:1"
        [kafka]
        brokers = "127.0.0.1:1"
        prefix = "p"
        user = "relay"
        password = "x"
        [kafka.topics."a"]
        partitions = 3
        replication_factor = 1
        [kafka.topics."b"]
        partitions = 3
        replication_factor = 1
        [services.alpha]
        token = "0123456789abcdef0123456789abcdef"
        [services.alpha.kafka]
        user = "alpha-user"
        password = "x"
        [services.alpha.postgres]
        url = "postgres://a:a@127.0.0.1:1/a"
        relay_url = "postgres://b:b@127.0.0.1:1/a"
        [services.alpha.publish]
        topics = ["a"]
        [services.beta]
        token = "0123456789abcdef0123456789abcdeh"
        [services.beta.kafka]
        user = "beta"
        password = "x"
        [services.beta.component]
        url = "http://127.0.0.1:1/_relay/beta"
        token = "0123456789abcdef0123456789abcdeg"
        [[services.beta.subscriptions]]
        topic = "a"
        route = "/a"
        [services.gamma]
        token = "0123456789abcdef0123456789abcdei"
    "#;

    fn of(user: &str, all: &BTreeSet<Acl>) -> Vec<String> {
        let of = all.iter().filter(|acl| acl.user == user);
        of.map(|acl| format!("{} {} {} {}", acl.operation, acl.resource, acl.pattern, acl.name)).collect()
    }

    #[test]
    fn each_user_may_do_what_its_service_does_and_no_more() {
        let config = Config::parse("test", TEXT, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(users(&config).into_iter().collect::<Vec<_>>(), ["alpha-user", "beta", "relay"]);
        let all = acls(&config);
        let expected = [
            "Read Group Literal p.alpha",
            "Write Topic Literal a",
            "Read Topic Literal p.alpha.outbox",
            "Write Topic Literal p.alpha.outbox",
            "Write TransactionalId Prefixed p.alpha.",
        ];
        assert_eq!(of("alpha-user", &all), expected);
        let expected = [
            "Read Group Literal p.beta",
            "Read Topic Literal a",
            "Delete Topic Literal a.beta.dlq",
            "Read Topic Literal a.beta.dlq",
            "Write Topic Literal a.beta.dlq",
            "Read Topic Literal a.beta.retry",
            "Write Topic Literal a.beta.retry",
            "Write TransactionalId Prefixed p.beta.",
        ];
        assert_eq!(of("beta", &all), expected);
        let relay = of("relay", &all);
        assert_eq!(relay.iter().filter(|acl| acl.starts_with("Create")).count(), 5, "{relay:?}");
        let other = ["Create", "Describe", "DescribeConfigs"];
        let rest: Vec<&String> = relay.iter().filter(|acl| !other.contains(&acl.split(' ').next().unwrap())).collect();
        assert_eq!(rest, ["Read Topic Literal a.beta.dlq"]);
    }

    #[test]
    fn where_nobody_logs_in_nothing_is_needed() {
        let open = TEXT.lines().filter(|line| {
            !["user", "password", "[services.alpha.kafka", "[services.beta.kafka"]
                .iter()
                .any(|word| line.trim().starts_with(word))
        });
        let open: String = open.collect::<Vec<_>>().join("\n");
        let config =
            Config::parse("test", &open, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(acls(&config).is_empty() && users(&config).is_empty());
    }

    #[test]
    fn a_service_without_a_user_works_as_the_relay() {
        let shared =
            TEXT.replace("[services.alpha.kafka]\n        user = \"alpha-user\"\n        password = \"x\"\n", "");
        let config =
            Config::parse("test", &shared, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(of("relay", &acls(&config)).contains(&"Write Topic Literal a".to_owned()));
    }
}
