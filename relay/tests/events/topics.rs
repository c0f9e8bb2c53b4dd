//! Topics are made, and those that exist are taken as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::json;
use towpath_relay::kafka::topics;

use crate::kafka::{admin, records};
use crate::subscriber::Subscriber;
use crate::support::{ServiceSetup, eventually, kafka_client};
use crate::{Setup, TOPIC, in_order, say_numbers, show_logs, subscribing};

/// The topics of a setup with their partitions.
async fn existing(setup: &Setup) -> BTreeMap<String, usize> {
    let (brokers, id) = (setup.servers.kafka.clone(), setup.id.clone());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = kafka_client(&brokers).create().expect("a consumer");
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).expect("Kafka answers");
        let own = metadata.topics().iter().filter(|topic| topic.name().starts_with(&id));
        own.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
    })
    .await
    .expect("asks")
}

#[tokio::test]
async fn topics_are_made_as_declared_and_never_changed() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let mut config = setup.config("relay");
    let topic = setup.topic(TOPIC);
    topics::ensure(&config, config.kafka.as_ref().expect("Kafka")).await.expect("makes them");
    let expected = BTreeMap::from([
        (topic.clone(), 4),
        (format!("{topic}.beta.dlq"), 1),
        (format!("{topic}.beta.retry"), 1),
        (format!("{}.alpha.outbox", setup.id), topics::JOURNAL_PARTITIONS as usize),
    ]);
    assert_eq!(existing(&setup).await, expected);
    for partitions in [2, 9] {
        let kafka = config.kafka.as_mut().expect("Kafka");
        kafka.topics.get_mut(&topic).expect("the topic").partitions = partitions;
        topics::ensure(&config, config.kafka.as_ref().expect("Kafka")).await.expect("takes them as they are");
        assert_eq!(existing(&setup).await, expected);
    }
    let relay = setup.start_with(config).await;
    say_numbers(&setup, &relay, 10, 0, 3).await;
    subscriber.accepts_all(&in_order(10, 3)).await;
}

#[tokio::test]
async fn relays_that_start_together_make_them_together() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relays = futures::future::join_all((0..4).map(|_| setup.start())).await;
    say_numbers(&setup, &relays[0], 10, 0, 3).await;
    subscriber.accepts_all(&in_order(10, 3)).await;
}

/// A setting of a topic, as the broker tells it.
async fn setting(setup: &Setup, topic: &str, name: &str) -> String {
    let admin = admin(&setup.servers.kafka);
    let answer = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let resource = answer.expect("Kafka answers").remove(0).expect("the topic");
    resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

/// A setup whose subscriber has a database, and so an inbox.
async fn with_an_inbox(component: &str) -> Setup {
    let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"";
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    let beta = ServiceSetup::new("beta").database().component(component).toml(subscription);
    Setup::new().service(alpha).service(beta).declare(TOPIC).databases().await
}

#[tokio::test]
async fn topics_that_the_relay_makes_keep_nothing_longer_than_the_inbox_remembers() {
    let subscriber = Subscriber::start().await;
    let setup = with_an_inbox(&subscriber.url).await;
    let config = setup.config("relay");
    let made = topics::ensure(&config, config.kafka.as_ref().expect("Kafka")).await.expect("makes them");
    assert_eq!(made, []);
    let topic = setup.topic(TOPIC);
    for heard in [topic.clone(), topics::retries(&topic, "beta")] {
        let number = async |name| setting(&setup, &heard, name).await.parse::<u64>().expect("a number");
        let kept = number("retention.ms").await + number("segment.ms").await;
        assert!(kept < config.services["beta"].limits.inbox_retention_ms, "{heard}: {kept}");
    }
    let letters = topics::dead_letters(&topic, "beta");
    assert_eq!(setting(&setup, &letters, "retention.ms").await, "-1", "letters stay until somebody decides");
    let most = async |topic: &str| setting(&setup, topic, "max.message.bytes").await.parse::<u64>().expect("a number");
    assert!(most(&letters).await >= most(&topic).await + (64 << 10), "a letter has room for what it adds");
}

#[tokio::test]
async fn a_topic_that_keeps_events_longer_than_the_inbox_is_named_with_what_to_change() {
    let subscriber = Subscriber::start().await;
    let setup = with_an_inbox(&subscriber.url).await;
    // As somebody made it with Kafka's own defaults: a week, and segments of a week.
    let admin = admin(&setup.servers.kafka);
    let topic = setup.topic(TOPIC);
    let new = NewTopic::new(&topic, 4, TopicReplication::Fixed(1))
        .set("retention.ms", "604800000")
        .set("segment.ms", "604800000");
    admin.create_topics(&[new], &AdminOptions::new()).await.expect("makes it");
    let relay = setup.start().await;
    let ready = eventually("it is named", async || {
        let ready = relay.readiness().await;
        if ready["kept_longer"].is_object() { Ok(ready) } else { Err(ready) }
    })
    .await;
    let said = ready["kept_longer"][format!("beta.{topic}")].as_str().expect("the topic");
    for part in ["for up to 14 d", "remembers them for 8 d", "raise inbox_retention_ms to 1210500000"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(setting(&setup, &topic, "segment.ms").await, "604800000", "it is left as it is");
    say_numbers(&setup, &relay, 2, 0, 1).await;
    subscriber.accepts(2).await;
    assert_eq!(relay.readiness().await["status"], "ready", "no reason to take it out of use");
}

/// Creates a topic as an operator would.
async fn create(brokers: &str, topic: &str) {
    let admin = admin(brokers);
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let created = admin.create_topics([&new], &AdminOptions::new()).await.expect("Kafka answers");
    assert_eq!(created, [Ok(topic.to_owned())]);
}

/// `gamma` publishes to a topic that Kafka refuses, `beta` hears it, and both have others beside it.
#[tokio::test]
async fn a_topic_that_kafka_refuses_holds_back_only_what_uses_it() {
    show_logs();
    let subscriber = Subscriber::start().await;
    let subscriptions = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"\n\
                         [[services.beta.subscriptions]]\ntopic = \"TOPIC(refused)\"\nroute = \"/events\"";
    let setup = Setup::new()
        .service(ServiceSetup::new("alpha").database().publishes(TOPIC))
        .service(ServiceSetup::new("beta").component(&subscriber.url).toml(subscriptions))
        .service(ServiceSetup::new("gamma").database().publishes("refused"))
        .declare(TOPIC)
        .declare("refused")
        .databases()
        .await;
    let refused = setup.topic("refused");
    let mut config = setup.config("refused");
    let kafka = config.kafka.as_mut().expect("Kafka");
    // More brokers than there are; and so the journal of gamma can't be made either.
    kafka.topics.get_mut(&refused).expect("the topic").replication_factor = 3;
    let relay = setup.start_with(config).await;
    say_numbers(&setup, &relay, 10, 0, 3).await;
    subscriber.accepts_all(&in_order(10, 3)).await;
    let event = json!({"topic": refused, "key": "key-of-gamma", "type": "thing.happened", "data": {"n": 0}});
    let taken = relay.transaction("gamma", json!({"events": [event]})).await;
    assert_eq!(taken.status, 200, "units of work go on: {taken:?}");
    let said = relay.readiness().await;
    let detail = said["dependencies"][format!("topic.{refused}")]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("replication factor"), "{said}");
    for topic in [refused.clone(), topics::dead_letters(&refused, "beta"), topics::retries(&refused, "beta")] {
        create(&setup.servers.kafka, &topic).await;
    }
    eventually("only the journal is missing", async || {
        let said = relay.readiness().await;
        let topics = said["dependencies"].as_object().expect("dependencies").keys();
        let missing: Vec<String> = topics.filter(|name| name.starts_with("topic.")).cloned().collect();
        if missing == [format!("topic.{}.gamma.outbox", setup.id)] { Ok(()) } else { Err(missing) }
    })
    .await;
    let admin = admin(&setup.servers.kafka);
    let journal = format!("{}.gamma.outbox", setup.id);
    let new = NewTopic::new(&journal, topics::JOURNAL_PARTITIONS as i32, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await.expect("Kafka answers");
    assert_eq!(records(&setup.servers.kafka, &refused, 1).await.len(), 1);
    let mut expected = in_order(10, 3);
    expected.insert("key-of-gamma".to_owned(), vec![0]);
    subscriber.accepts_all(&expected).await;
}

#[tokio::test]
async fn a_setting_that_kafka_refuses_is_told_and_counted() {
    let alpha = ServiceSetup::new("alpha").database().publishes("refused");
    let setup = Setup::new().service(alpha).declare("refused").databases().await;
    let refused = setup.topic("refused");
    for (setting, value) in [("retention.ms", "a while"), ("min.insync.replicas", "0")] {
        let mut config = setup.config("one-refused");
        let declared = config.kafka.as_mut().expect("Kafka").topics.get_mut(&refused).expect("the topic");
        declared.settings.insert(setting.to_owned(), value.to_owned());
        let relay = setup.start_with(config).await;
        let entry = format!("topic.{refused}");
        eventually("the refusal is told", async || {
            let said = relay.readiness().await;
            if said["dependencies"][&entry]["up"] == false && said["status"] == "degraded" { Ok(()) } else { Err(said) }
        })
        .await;
        let failures =
            relay.metric(&format!("towpath_relay_dependency_failures_total{{dependency=\"{entry}\"}}")).await;
        assert!(failures > 0.0, "the refusal is counted");
        relay.stop().await;
    }
}

/// A service that publishes to several topics goes on with the others.
#[tokio::test]
async fn events_of_a_refused_topic_do_not_hold_up_those_of_others() {
    let subscriber = Subscriber::start().await;
    show_logs();
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC).publishes("refused");
    let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"";
    let beta = ServiceSetup::new("beta").component(&subscriber.url).toml(subscription);
    let setup = Setup::new().service(alpha).service(beta).declare(TOPIC).declare("refused").databases().await;
    let refused = setup.topic("refused");
    let mut config = setup.config("both");
    let declared = config.kafka.as_mut().expect("Kafka").topics.get_mut(&refused).expect("the topic");
    declared.settings.insert("retention.ms".to_owned(), "a while".to_owned());
    let relay = setup.start_with(config).await;
    let event = json!({"topic": refused, "key": "held", "type": "thing.happened", "data": {"n": 0}});
    assert_eq!(relay.transaction("alpha", json!({"events": [event]})).await.status, 200);
    // A key that shares its shard with the one that waits may wait too.
    let number = |call: &crate::subscriber::Heard| call.n;
    say_numbers(&setup, &relay, 40, 0, 2).await;
    eventually("most keys go on", async || {
        let second = subscriber.calls().iter().filter(|call| number(call) == 1).count();
        if second >= 20 { Ok(()) } else { Err(second) }
    })
    .await;
    create(&setup.servers.kafka, &refused).await;
    assert_eq!(records(&setup.servers.kafka, &refused, 1).await.len(), 1);
    subscriber.accepts_all(&in_order(40, 2)).await;
}
