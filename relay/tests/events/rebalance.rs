//! Several relays deliver for one service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;

use crate::subscriber::{Heard, Subscriber};
use crate::support::{eventually, free_port, kafka_client};
use crate::{assert_same, in_order, say_numbers, subscribing};

const KEYS: usize = 20;

/// How many partitions a relay in this process has: the metrics are shared, so ask the group.
async fn members(setup: &crate::Setup, count: usize) {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let (brokers, group) = (setup.servers.kafka.clone(), format!("{}.beta", setup.id));
    eventually("the group has its members", async || {
        let (brokers, group) = (brokers.clone(), group.clone());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = kafka_client(&brokers).create().expect("a consumer");
            let list = consumer.fetch_group_list(Some(&group), Duration::from_secs(5));
            let Ok(list) = list else { return Err("no answer".to_owned()) };
            let Some(found) = list.groups().first() else { return Err("no group".to_owned()) };
            let (state, members) = (found.state(), found.members().len());
            if (state == "Stable" || count == 0) && members == count {
                Ok(())
            } else {
                Err(format!("{state}, {members} members"))
            }
        })
        .await
        .expect("asks")
    })
    .await;
}

fn slow(subscriber: &Subscriber) {
    subscriber.answer(|_: Heard| async {
        // As a component at work: long enough that rebalances meet deliveries under way.
        tokio::time::sleep(Duration::from_millis(5)).await;
        StatusCode::NO_CONTENT.into_response()
    });
}

#[tokio::test]
async fn relays_that_join_and_leave_under_load_skip_nothing_and_keep_the_order() {
    let subscriber = Subscriber::start().await;
    slow(&subscriber);
    let setup = subscribing(&subscriber.url, "delivery_lanes = 8").await;
    let first = setup.start().await;
    members(&setup, 1).await;
    let moved = AtomicBool::new(false);
    let speaking = async {
        let mut n = 0;
        while !moved.load(Ordering::SeqCst) {
            say_numbers(&setup, &first, KEYS, n, 1).await;
            n += 1;
            // Not faster than it is heard, so that every move meets deliveries under way, and few of them.
            subscriber.hears(KEYS * n.saturating_sub(3)).await;
        }
        n
    };
    let moving = async {
        for _ in 0..3 {
            let second = setup.start().await;
            members(&setup, 2).await;
            let heard = subscriber.calls().len();
            subscriber.hears(heard + KEYS * 3).await;
            assert!(second.stop().await);
            members(&setup, 1).await;
        }
        moved.store(true, Ordering::SeqCst);
    };
    let (said, ()) = tokio::join!(speaking, moving);
    let expected = in_order(KEYS, said);
    subscriber.accepts_all(&expected).await;
    assert_eq!(subscriber.overlaps(), 0, "of one key one delivery at most runs");
    // Nobody was cut off, so nothing came twice.
    let accepted: BTreeMap<String, Vec<usize>> =
        crate::by_key(subscriber.accepted().iter().map(|(key, n)| (key.as_str(), *n)));
    assert_same(&accepted, &expected);
}

#[tokio::test]
async fn a_dead_relays_partitions_go_to_another_and_nothing_is_skipped() {
    let subscriber = Subscriber::start().await;
    slow(&subscriber);
    let setup = subscribing(&subscriber.url, "lease_ms = 2000").await;
    let first = setup.start().await;
    let second = setup.start().await;
    members(&setup, 2).await;
    tokio::join!(say_numbers(&setup, &first, KEYS, 0, 30), async {
        subscriber.hears(50).await;
        second.crash();
    });
    subscriber.accepts_all(&in_order(KEYS, 30)).await;
    members(&setup, 1).await;
}

#[tokio::test]
async fn a_relay_that_cannot_reach_its_component_leaves_the_events_to_others() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let address = format!("127.0.0.1:{}", free_port());
    let mut config = setup.config("alone");
    let component = config.services.get_mut("beta").and_then(|beta| beta.component.as_mut()).expect("a component");
    component.url = format!("http://{address}");
    let alone = setup.start_with(config).await;
    members(&setup, 1).await;
    say_numbers(&setup, &alone, KEYS, 0, 3).await;
    members(&setup, 0).await;
    let other = setup.start().await;
    subscriber.accepts_all(&in_order(KEYS, 3)).await;
    // Its component comes: it takes its part again.
    let subscriber = Subscriber::start_at(&address).await;
    members(&setup, 2).await;
    say_numbers(&setup, &other, KEYS, 3, 3).await;
    subscriber.hears(1).await;
}

#[tokio::test]
async fn a_rebalance_cuts_off_what_does_not_end_in_time_and_it_comes_again() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "delivery_backoff_ms = 1").await;
    // The first delivery of each key never ends.
    subscriber.answer(|_: Heard| std::future::pending());
    let first = setup.start().await;
    members(&setup, 1).await;
    say_numbers(&setup, &first, KEYS, 0, 3).await;
    subscriber.hears(KEYS).await;
    subscriber.answer_status(StatusCode::OK);
    let second = setup.start().await;
    members(&setup, 2).await;
    // Whatever moved is delivered by the other; what stayed is with the first, whose component says nothing.
    let moved = eventually("what moved is delivered", async || {
        let accepted = subscriber.first_accepted();
        let complete = accepted.values().filter(|numbers| **numbers == [0, 1, 2]).count();
        if complete > 0 && accepted.len() == complete { Ok(complete) } else { Err(accepted) }
    })
    .await;
    assert!(moved < KEYS);
    drop(second);
    assert!(Arc::strong_count(&first.running.relay) > 0);
}

#[tokio::test]
async fn partitions_that_are_added_are_heard_from_their_beginning() {
    use rdkafka::admin::{AdminOptions, NewPartitions};
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let mut config = setup.config("relay");
    let properties = &mut config.kafka.as_mut().expect("Kafka").properties;
    // A new partition is found at the next look at the topics.
    let every = towpath_relay::config::Secret::new("300");
    properties.insert("topic.metadata.refresh.interval.ms".into(), every);
    let relay = setup.start_with(config).await;
    say_numbers(&setup, &relay, KEYS, 0, 5).await;
    subscriber.accepts(KEYS * 5).await;
    let admin = crate::kafka::admin(&setup.servers.kafka);
    let topic = setup.topic(crate::TOPIC);
    let more = NewPartitions::new(&topic, 9);
    let added = admin.create_partitions(&[more], &AdminOptions::new()).await.expect("Kafka answers");
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    // Until the publisher knows of the new partitions too.
    let mut n = 5;
    let spread = async |n: usize| {
        let seen = crate::kafka::records(&setup.servers.kafka, &topic, KEYS * n).await;
        seen.iter().any(|record| record.partition >= 4)
    };
    while !spread(n).await {
        assert!(n < 2_000, "the publisher doesn't find the new partitions");
        say_numbers(&setup, &relay, KEYS, n, 5).await;
        n += 5;
    }
    subscriber.accepts(KEYS * n).await;
    let accepted = subscriber.accepted();
    assert_eq!(accepted.len(), KEYS * n, "each once");
}
