//! Kafka is down, or its answers are lost.

use std::time::{Duration, Instant};

use towpath_fault_proxy::{Fate, Kafka, PRODUCE, Proxy};

use crate::kafka::{key_and_number, records, records_now};
use crate::support::{Servers, ServiceSetup, Setup, TestRelay, eventually, kafka_client};
use crate::{TOPIC, assert_same, by_key, in_order, say_numbers};

const KEYS: usize = 12;

pub(crate) async fn before(kafka: &str) -> Proxy<Kafka> {
    Proxy::before(kafka).await.expect("a port")
}

async fn behind(proxy: &Proxy<Kafka>) -> Setup {
    crate::show_logs();
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    Setup::new().kafka(&proxy.address()).service(alpha).declare(TOPIC).databases().await
}

/// A relay behind a proxy, five of whose events are in Kafka for every key.
async fn published() -> (String, Proxy<Kafka>, Setup, TestRelay) {
    let kafka = Servers::from_env().kafka;
    let proxy = before(&kafka).await;
    let setup = behind(&proxy).await;
    let relay = setup.start().await;
    say_numbers(&setup, &relay, KEYS, 0, 5).await;
    records(&kafka, &setup.topic(TOPIC), KEYS * 5).await;
    (kafka, proxy, setup, relay)
}

/// Longer than anything waits for Kafka: transactions run out there, and publishers give their producers up.
#[tokio::test]
async fn a_long_outage_is_survived_too() {
    let (kafka, proxy, setup, relay) = published().await;
    proxy.shut();
    say_numbers(&setup, &relay, KEYS, 5, 5).await;
    let cut = Instant::now();
    eventually("the publisher begins anew", async || {
        let lost = relay.metric("towpath_relay_outbox_failures_total{service=\"alpha\",reason=\"lost\"}").await;
        if lost > 0.0 && cut.elapsed() > Duration::from_secs(40) { Ok(()) } else { Err((lost, cut.elapsed())) }
    })
    .await;
    proxy.open();
    records(&kafka, &setup.topic(TOPIC), KEYS * 10).await;
    let seen = records_now(&kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, 10));
}

#[tokio::test]
async fn while_kafka_is_down_units_of_work_go_on_and_afterwards_everything_is_published_once() {
    let (kafka, proxy, setup, relay) = published().await;
    proxy.shut();
    say_numbers(&setup, &relay, KEYS, 5, 50).await;
    assert_eq!(records_now(&kafka, &setup.topic(TOPIC)).await.len(), KEYS * 5);
    proxy.open();
    records(&kafka, &setup.topic(TOPIC), KEYS * 55).await;
    let seen = records_now(&kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, 55));
}

#[tokio::test]
async fn a_relay_starts_while_kafka_is_down() {
    let kafka = Servers::from_env().kafka;
    let proxy = before(&kafka).await;
    proxy.shut();
    let setup = behind(&proxy).await;
    let relay = setup.start().await;
    say_numbers(&setup, &relay, KEYS, 0, 3).await;
    proxy.open();
    let seen = records(&kafka, &setup.topic(TOPIC), KEYS * 3).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, 3));
}

/// Whether a batch that was sent is in Kafka is found out, never guessed.
#[tokio::test]
async fn answers_that_are_lost_double_nothing() {
    let kafka = Servers::from_env().kafka;
    let proxy = before(&kafka).await;
    let setup = behind(&proxy).await;
    let relay = setup.start().await;
    for round in 0..6 {
        proxy.once(0, Fate::AnswerLost, |request| request.api_key == PRODUCE);
        say_numbers(&setup, &relay, KEYS, round * 12, 12).await;
        proxy.until_struck(round + 1).await;
    }
    assert_eq!(proxy.struck(), 6);
    records(&kafka, &setup.topic(TOPIC), KEYS * 72).await;
    let seen = records_now(&kafka, &setup.topic(TOPIC)).await;
    assert_same(&by_key(seen.iter().map(key_and_number)), &in_order(KEYS, 72));
}

/// The proxy by itself: a client sees only it, and what it cuts is cut.
#[tokio::test]
async fn clients_stay_behind_the_proxy() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let proxy = before(&Servers::from_env().kafka).await;
    let metadata = async |address: String| {
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = kafka_client(&address).create().expect("a consumer");
            let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
            let broker = &metadata.brokers()[0];
            Some(format!("{}:{}", broker.host(), broker.port()))
        })
        .await
        .expect("asks")
    };
    assert_eq!(metadata(proxy.address()).await, Some(proxy.address()));
    proxy.shut();
    assert_eq!(metadata(proxy.address()).await, None);
    proxy.open();
    assert_eq!(metadata(proxy.address()).await, Some(proxy.address()));
}
