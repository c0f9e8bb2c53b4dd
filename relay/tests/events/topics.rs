//! Topics are made, and those that exist are taken as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use towpath_relay::kafka::topics;

use crate::subscriber::Subscriber;
use crate::{Setup, TOPIC, in_order, say_numbers, subscribing};

/// The topics of a setup with their partitions.
async fn existing(setup: &Setup) -> BTreeMap<String, usize> {
    let (brokers, id) = (setup.servers.kafka.clone(), setup.id.clone());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a consumer");
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
