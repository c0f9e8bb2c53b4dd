//! For a while nobody leads a partition, or coordinates a group. The proxy answers in the broker's place, in Kafka's own form.

use bytes::Bytes;
use towpath_fault_proxy::{FIND_COORDINATOR, Fate, HEARTBEAT, KafkaRequest, METADATA};

use crate::kafka_away::before;
use crate::subscriber::Subscriber;
use crate::support::{Servers, ServiceSetup, Setup};
use crate::watchdog::{moves, noticed, published, publishing_behind};
use crate::{TOPIC, in_order, say_numbers_as};

const KEYS: usize = 8;

/// https://kafka.apache.org/protocol: the codes of errors.
const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// `node.id` of the broker that tests have.
const NODE: i32 = 1;

fn framed(body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).expect("a short answer");
    [&length.to_be_bytes(), body].concat().into()
}

/// A string, or the length of a list, in the form without fixed lengths: one more than its length. Short ones need one byte.
fn compact(length: usize) -> u8 {
    u8::try_from(length + 1).ok().filter(|byte| *byte < 128).expect("a short string")
}

/// Metadata in which no partition of these topics has a leader.
fn nobody_leads(request: &KafkaRequest, port: u16, topics: &[(String, i32)]) -> Bytes {
    let version = request.version;
    assert!((9..=13).contains(&version), "metadata {version}");
    let mut body = Vec::new();
    let text = |body: &mut Vec<u8>, text: &str| {
        body.push(compact(text.len()));
        body.extend(text.as_bytes());
    };
    body.extend(request.correlation.to_be_bytes());
    body.push(0);
    // Not throttled; one broker, without a rack.
    body.extend(0_i32.to_be_bytes());
    body.push(compact(1));
    body.extend(NODE.to_be_bytes());
    text(&mut body, "127.0.0.1");
    body.extend(i32::from(port).to_be_bytes());
    body.extend([0, 0]);
    // No name of the cluster; its controller.
    body.push(0);
    body.extend(NODE.to_be_bytes());
    body.push(compact(topics.len()));
    for (topic, partitions) in topics {
        body.extend(0_i16.to_be_bytes());
        text(&mut body, topic);
        if version >= 10 {
            body.extend([0; 16]);
        }
        body.push(0);
        body.push(compact(*partitions as usize));
        for partition in 0..*partitions {
            body.extend(LEADER_NOT_AVAILABLE.to_be_bytes());
            body.extend(partition.to_be_bytes());
            // No leader, and no epoch of one.
            body.extend([0xff; 8]);
            body.push(compact(1));
            body.extend(NODE.to_be_bytes());
            // None in sync, none known to be away.
            body.extend([compact(0), compact(0), 0]);
        }
        body.extend(i32::MIN.to_be_bytes());
        body.push(0);
    }
    if version <= 10 {
        body.extend(i32::MIN.to_be_bytes());
    }
    if version >= 13 {
        body.extend(0_i16.to_be_bytes());
    }
    body.push(0);
    framed(&body)
}

/// "I am not its coordinator", and "nobody is".
fn nobody_coordinates(request: &KafkaRequest) -> Bytes {
    let mut body = request.correlation.to_be_bytes().to_vec();
    if request.version >= 1 {
        body.extend(0_i32.to_be_bytes());
    }
    if request.api_key == HEARTBEAT {
        assert!(request.version <= 3, "heartbeat {}", request.version);
        body.extend(NOT_COORDINATOR.to_be_bytes());
        return framed(&body);
    }
    assert!(request.version <= 2, "find coordinator {}", request.version);
    body.extend(COORDINATOR_NOT_AVAILABLE.to_be_bytes());
    if request.version >= 1 {
        body.extend((-1_i16).to_be_bytes());
    }
    body.extend((-1_i32).to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    framed(&body)
}

/// The publisher's client is told so, and others are not: what one client believes is no reason to stand still.
#[tokio::test]
async fn a_publisher_that_was_told_of_no_leader_is_replaced() {
    const NAME: &str = "leaderless";
    let proxy = before(&Servers::from_env().kafka).await;
    let setup = publishing_behind(&proxy, NAME).await;
    let client = format!("{}-outbox-{NAME}", setup.id);
    let topics = [(setup.topic(TOPIC), 4), (format!("{}.{NAME}.outbox", setup.id), 4)];
    let port = proxy.address().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    proxy.rule(move |request: &KafkaRequest| {
        let told = request.client == client && request.api_key == METADATA;
        if told { Fate::Answered(nobody_leads(request, port, &topics)) } else { Fate::Pass }
    });
    let relay = setup.start().await;
    say_numbers_as(NAME, &setup, &relay, KEYS, 0, 3).await;
    noticed(&relay, NAME, "outbox", "outbox").await;
    proxy.pass();
    say_numbers_as(NAME, &setup, &relay, KEYS, 3, 2).await;
    published(&setup, 5).await;
    moves(&relay, NAME).await;
}

#[tokio::test]
async fn a_group_whose_coordinator_moves_goes_on_where_it_was() {
    let [says, hears] = ["moved-saying", "moved-hearing"];
    let subscriber = Subscriber::start().await;
    let proxy = before(&Servers::from_env().kafka).await;
    let subscription = format!("[[services.{hears}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
    let setup = Setup::new()
        .kafka(&proxy.address())
        .service(ServiceSetup::new(says).database().publishes(TOPIC))
        .service(ServiceSetup::new(hears).component(&subscriber.url).toml(&subscription))
        .declare(TOPIC)
        .databases()
        .await;
    let relay = setup.start().await;
    say_numbers_as(says, &setup, &relay, KEYS, 0, 2).await;
    subscriber.accepts_all(&in_order(KEYS, 2)).await;
    let client = format!("{}-deliver-{hears}", setup.id);
    proxy.rule(move |request: &KafkaRequest| {
        let told = request.client == client && [HEARTBEAT, FIND_COORDINATOR].contains(&request.api_key);
        if told { Fate::Answered(nobody_coordinates(request)) } else { Fate::Pass }
    });
    say_numbers_as(says, &setup, &relay, KEYS, 2, 2).await;
    proxy.until_struck(8).await;
    proxy.pass();
    say_numbers_as(says, &setup, &relay, KEYS, 4, 2).await;
    subscriber.accepts_all(&in_order(KEYS, 6)).await;
    moves(&relay, hears).await;
}
