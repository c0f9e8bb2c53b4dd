//! What strangers may write into a topic: records of every size and kind. Each is delivered, or is a dead letter with a way out,
//! and what stands behind it goes on.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::IntoResponse;
use bytes::Bytes;
use http::StatusCode;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use towpath_relay::config::Config;
use towpath_relay::events::dead_letters::{self, Filter, Letter, Reason, headers};
use towpath_relay::kafka::topics;

use crate::kafka::{PATIENCE, admin, foreign};
use crate::raw_produce::{produce_raw, produce_torn, produce_unreadable};
use crate::subscriber::{Heard, Subscriber};
use crate::support::{Setup, TestRelay, eventually, kafka_client};
use crate::{TOPIC, subscribing};

const MIB: usize = 1 << 20;

/// Writes an event as a stranger would, compressed by this codec.
async fn say(setup: &Setup, id: &str, key: &str, value: &[u8], codec: &str) {
    let mut all = OwnedHeaders::new();
    for (key, value) in &foreign("strange", id) {
        all = all.insert(Header { key, value: Some(value) });
    }
    send(setup, Some(key), all, Some(value), codec).await;
}

async fn send(setup: &Setup, key: Option<&str>, headers: OwnedHeaders, value: Option<&[u8]>, codec: &str) {
    let producer: FutureProducer = kafka_client(&setup.servers.kafka)
        .set("compression.type", codec)
        .set("message.max.bytes", (64 * MIB).to_string())
        .create()
        .expect("a producer");
    let topic = setup.topic(TOPIC);
    let mut record = FutureRecord::to(&topic).headers(headers);
    (record.key, record.payload) = (key, value);
    producer.send(record, PATIENCE).await.expect("Kafka takes it");
}

/// A configuration in which the topic takes records of this size, and the relay delivers records of that size.
fn taking(setup: &Setup, topic_bytes: usize, delivery_bytes: usize) -> Config {
    let mut config = setup.config(&format!("{}-{delivery_bytes}", setup.id));
    let kafka = config.kafka.as_mut().expect("Kafka");
    let settings = &mut kafka.topics.get_mut(&setup.topic(TOPIC)).expect("the topic").settings;
    settings.insert("max.message.bytes".into(), topic_bytes.to_string());
    for service in config.services.values_mut() {
        service.limits.delivery_bytes = delivery_bytes;
    }
    config
}

/// Starts a relay, with its topics there already: what is said before would make them otherwise.
async fn start(setup: &Setup, config: Config) -> TestRelay {
    topics::ensure(&config, config.kafka.as_ref().expect("Kafka")).await.expect("makes them");
    setup.start_with(config).await
}

async fn open(setup: &Setup, count: usize) -> Vec<Letter> {
    let config = setup.config("cli");
    eventually("so many letters are open", async || {
        let open = dead_letters::list(&config, &Filter::default()).await.expect("lists");
        if open.len() == count { Ok(open) } else { Err(open) }
    })
    .await
}

/// An event behind all others arrives.
async fn goes_on(setup: &Setup, subscriber: &Subscriber, keys: &[&str]) {
    let before = subscriber.accepted().len();
    for key in keys {
        say(setup, &format!("after-{key}"), key, b"{}", "none").await;
    }
    subscriber.accepts(before + keys.len()).await;
}

/// Refuses what is large, and takes everything else.
fn refuse_large(subscriber: &Subscriber) {
    subscriber.answer(|heard: Heard| async move {
        if heard.body.len() > 1000 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }.into_response()
    });
}

fn ids(subscriber: &Subscriber) -> Vec<String> {
    subscriber.calls().iter().map(|call| call.header("ce-id").to_owned()).collect()
}

#[tokio::test]
async fn a_letter_too_large_for_its_topic_refers_to_its_record_and_is_replayed_from_there() {
    let subscriber = Subscriber::start().await;
    refuse_large(&subscriber);
    let setup = subscribing(&subscriber.url, "").await;
    // As somebody made it who thought of no headers.
    let admin = admin(&setup.servers.kafka);
    let letters = topics::dead_letters(&setup.topic(TOPIC), "beta");
    let new = NewTopic::new(&letters, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "1048588");
    admin.create_topics(&[new], &AdminOptions::new()).await.expect("makes it");
    let relay = start(&setup, setup.config("relay")).await;
    let value = |n: u8| vec![b'a' + n; 1_048_300];
    for n in 0..3 {
        say(&setup, &format!("large-{n}"), "k", &value(n), "none").await;
    }
    let open = open(&setup, 3).await;
    goes_on(&setup, &subscriber, &["k", "l"]).await;
    for (n, letter) in open.iter().enumerate() {
        assert_eq!((letter.reason, letter.status), (Some(Reason::Refused), Some(422)));
        let record = letter.refers_to.as_ref().expect("it refers to its record").to_string();
        assert_eq!(record, letter.origin);
        assert!(letter.bytes.is_some_and(|bytes| bytes > 1_048_300), "{letter:?}");
        assert_eq!((letter.event_id.as_deref(), letter.key.as_deref()), (Some(&*format!("large-{n}")), Some("k")));
    }
    subscriber.answer_status(StatusCode::OK);
    let replayed = dead_letters::replay(&setup.config("cli"), &Filter::default()).await.expect("replays");
    assert_eq!((replayed.done.len(), replayed.deleted.len()), (3, 0));
    subscriber.accepts(5).await;
    let calls = subscriber.calls();
    let last: Vec<&Heard> = calls.iter().rev().take(3).rev().collect();
    for (n, call) in last.into_iter().enumerate() {
        assert_eq!(call.header("ce-id"), format!("large-{n}"), "in order: {:?}", ids(&subscriber));
        assert_eq!(call.header("towpath-event-topic"), setup.topic(TOPIC));
        assert!(call.body == value(n as u8), "the whole event");
    }
    assert_eq!(dead_letters::list(&setup.config("cli"), &Filter::default()).await.expect("lists"), []);
    drop(relay);
}

#[tokio::test]
async fn a_letter_takes_whatever_its_topic_takes() {
    let subscriber = Subscriber::start().await;
    refuse_large(&subscriber);
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, taking(&setup, 6 * MIB, 8 * MIB)).await;
    say(&setup, "small", "k", b"{}", "none").await;
    subscriber.accepts(1).await;
    say(&setup, "large", "k", &vec![b'x'; 5 * MIB], "none").await;
    let letter = open(&setup, 1).await.remove(0);
    goes_on(&setup, &subscriber, &["k"]).await;
    assert_eq!((letter.refers_to.clone(), letter.status), (None, Some(422)));
    let filter = Filter { ids: [letter.id.clone()].into(), ..Filter::default() };
    let whole = dead_letters::show(&setup.config("cli"), &filter).await.expect("shows").remove(0);
    assert_eq!(whole.record.value.as_ref().map(Bytes::len), Some(5 * MIB));
    assert_eq!(letter.record.value, None, "a list holds no data");
    drop(relay);
}

#[tokio::test]
async fn a_record_larger_than_the_relay_delivers_is_a_letter_at_once_and_comes_back_when_the_limit_is_raised() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, taking(&setup, 6 * MIB, MIB)).await;
    say(&setup, "before", "k", b"{}", "none").await;
    subscriber.accepts(1).await;
    say(&setup, "large", "k", &vec![b'x'; 5 * MIB], "none").await;
    goes_on(&setup, &subscriber, &["k"]).await;
    let letter = open(&setup, 1).await.remove(0);
    assert_eq!((letter.reason, letter.attempts), (Some(Reason::TooLarge), 0));
    assert!(letter.detail.contains("limits.delivery_bytes = 1048576"), "{}", letter.detail);
    assert_eq!((letter.event_id.as_deref(), letter.key.as_deref()), (Some("large"), Some("k")));
    assert_eq!(ids(&subscriber), ["before", "after-k"]);
    // Replayed as things are it is too large again.
    let replay = async || dead_letters::replay(&setup.config("cli"), &Filter::default()).await.expect("replays");
    assert_eq!(replay().await.done.len(), 1);
    let again = eventually("it is a letter again", async || match &*open(&setup, 1).await {
        [again] if again.replays == 1 => Ok(again.clone()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!((again.reason, &again.refers_to), (Some(Reason::TooLarge), &letter.refers_to));
    assert!(relay.stop().await);
    let relay = start(&setup, taking(&setup, 6 * MIB, 8 * MIB)).await;
    assert_eq!(replay().await.done.len(), 1);
    subscriber.accepts(3).await;
    assert_eq!(subscriber.calls().pop().map(|call| call.body.len()), Some(5 * MIB));
    drop(relay);
}

#[tokio::test]
async fn compression_hides_no_size() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, setup.config("relay")).await;
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        say(&setup, &format!("small-{codec}"), codec, &vec![b'x'; 10_000], codec).await;
        // Within what the topic takes, and far beyond it once it is unpacked.
        say(&setup, &format!("large-{codec}"), codec, &vec![b'x'; 12 * MIB], codec).await;
    }
    goes_on(&setup, &subscriber, &codecs).await;
    let letters = open(&setup, codecs.len()).await;
    let large: BTreeMap<_, _> = letters.iter().map(|letter| (letter.key.as_deref(), letter)).collect();
    for codec in codecs {
        let letter = large[&Some(codec)];
        assert_eq!(letter.reason, Some(Reason::TooLarge));
        assert!(letter.bytes.is_some_and(|bytes| bytes > 12 * MIB as u64), "{letter:?}");
    }
    let delivered = ids(&subscriber);
    assert!(codecs.iter().all(|codec| delivered.contains(&format!("small-{codec}"))), "{delivered:?}");
    drop(relay);
}

#[tokio::test]
async fn a_record_that_the_client_cannot_read_is_a_letter_and_what_stands_behind_it_goes_on() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, setup.config("relay")).await;
    let attributes = foreign("strange", "z");
    let headers: Vec<(&[u8], &[u8])> =
        attributes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    for partition in 0..4 {
        produce_raw(&setup.servers.kafka, &setup.topic(TOPIC), partition, b"k", &headers, b"{}").await;
        for _ in 0..3 {
            produce_unreadable(&setup.servers.kafka, &setup.topic(TOPIC), partition, b"k", &headers, b"{}").await;
        }
        produce_raw(&setup.servers.kafka, &setup.topic(TOPIC), partition, b"k", &headers, b"{}").await;
    }
    subscriber.accepts(8).await;
    let letters = open(&setup, 12).await;
    for letter in &letters {
        assert_eq!((letter.reason, letter.attempts), (Some(Reason::Unreadable), 0), "{letter:?}");
    }
    let places: BTreeSet<_> = letters.iter().filter_map(|letter| letter.refers_to.clone()).collect();
    let expected = (0..4).flat_map(|partition| (1..4).map(move |offset| (partition, offset)));
    let found: BTreeSet<_> = places.iter().map(|place| (place.partition, place.offset)).collect();
    assert_eq!(found, expected.collect());
    // A replay changes nothing: it is a letter again.
    let config = setup.config("cli");
    let first = Filter { ids: [letters[0].id.clone()].into(), ..Filter::default() };
    assert_eq!(dead_letters::replay(&config, &first).await.expect("replays").done.len(), 1);
    eventually("it is a letter again", async || {
        let again = open(&setup, 12).await.pop().expect("a letter");
        if again.replays == 1 && again.refers_to == letters[0].refers_to { Ok(()) } else { Err(again) }
    })
    .await;
    drop(relay);
}

#[tokio::test]
async fn a_record_of_which_the_client_says_nothing_is_a_letter_too() {
    let subscriber = Subscriber::start().await;
    // One key waits for its component all the time: what stands behind it is none of its business.
    subscriber.answer(|heard: Heard| async move {
        let waits = heard.header("towpath-event-key") == "waits";
        if waits { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }.into_response()
    });
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, setup.config("relay")).await;
    let (kafka, topic) = (setup.servers.kafka.clone(), setup.topic(TOPIC));
    let attributes = foreign("strange", "z");
    let headers: Vec<(&[u8], &[u8])> =
        attributes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let whole = async |partition, key: &[u8]| produce_raw(&kafka, &topic, partition, key, &headers, b"{}").await;
    let torn = async |partition, keys: &[&[u8]], torn| {
        produce_torn(&kafka, &topic, partition, &headers, keys, torn).await;
    };
    // The first record of its partition; one among others; one within its batch; one behind an event that waits.
    torn(0, &[b"k"], 0).await;
    whole(0, b"k").await;
    whole(1, b"k").await;
    torn(1, &[b"k"], 0).await;
    whole(1, b"k").await;
    torn(2, &[b"k", b"l", b"k"], 1).await;
    whole(2, b"k").await;
    whole(3, b"waits").await;
    torn(3, &[b"k"], 0).await;
    whole(3, b"k").await;
    subscriber.accepts(6).await;
    let letters = open(&setup, 5).await;
    for letter in &letters {
        assert_eq!((letter.reason, letter.attempts), (Some(Reason::Unreadable), 0), "{letter:?}");
    }
    let places: BTreeSet<_> = letters.iter().filter_map(|letter| letter.refers_to.clone()).collect();
    let found: Vec<_> = places.iter().map(|place| (place.partition, place.offset)).collect();
    assert_eq!(found, [(0, 0), (1, 1), (2, 1), (2, 2), (3, 1)]);
    drop(relay);
}

#[tokio::test]
async fn what_kafka_has_deleted_is_said_and_can_be_dropped() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, taking(&setup, 6 * MIB, MIB)).await;
    say(&setup, "before", "k", b"{}", "none").await;
    subscriber.accepts(1).await;
    say(&setup, "large", "k", &vec![b'x'; 2 * MIB], "none").await;
    let letter = open(&setup, 1).await.remove(0);
    let record = letter.refers_to.clone().expect("it refers to its record");
    let admin = admin(&setup.servers.kafka);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&record.topic, record.partition, Offset::End).expect("a partition");
    admin.delete_records(&all, &AdminOptions::new()).await.expect("deletes");
    let config = setup.config("cli");
    let replayed = dead_letters::replay(&config, &Filter::default()).await.expect("answers");
    assert!(replayed.done.is_empty());
    assert_eq!(replayed.deleted, std::slice::from_ref(&letter));
    // One that was replayed before Kafka deleted its record becomes a letter again, which says so.
    let retries = topics::retries(&setup.topic(TOPIC), "beta");
    let reference = record.to_string();
    let marks = [(headers::RECORD, reference.as_str()), (headers::REPLAYS, "1")];
    crate::kafka::produce(&setup.servers.kafka, &retries, Some("k"), &marks, "").await;
    let letters = open(&setup, 2).await;
    assert_eq!((letters[1].reason, &letters[1].refers_to), (Some(Reason::Deleted), &Some(record)));
    assert_eq!(dead_letters::drop(&config, &Filter::default()).await.expect("drops").len(), 2);
    assert_eq!(dead_letters::list(&config, &Filter::default()).await.expect("lists"), []);
    drop(relay);
}

#[tokio::test]
async fn headers_of_any_kind_stop_nobody() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = start(&setup, setup.config("relay")).await;
    say(&setup, "before", "k", b"{}", "none").await;
    subscriber.accepts(1).await;
    let event = |id: &str| {
        foreign("strange", id)
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }))
    };
    let more = |count: usize, length: usize, id: &str| {
        let value = "y".repeat(length);
        (0..count).fold(event(id), |all, n| {
            let key = format!("ce_x{n}");
            all.insert(Header { key: &key, value: Some(value.as_str()) })
        })
    };
    // Too many attributes, and too large ones, for the head of a request.
    send(&setup, Some("k"), more(40_000, 1, "many"), Some(b"{}"), "none").await;
    send(&setup, Some("k"), more(1, 200_000, "long"), Some(b"{}"), "none").await;
    send(&setup, Some(&"k".repeat(100_000)), event("key"), Some(b"{}"), "none").await;
    let letters = open(&setup, 3).await;
    assert!(letters.iter().all(|letter| letter.reason == Some(Reason::TooLarge)), "{letters:?}");
    // Headers that are no attributes don't travel.
    let others = (0..5_000).fold(event("others"), |all, n| {
        all.insert(Header { key: &format!("x-{n}"), value: Some(&[0xff_u8, 0xfe][..]) })
    });
    send(&setup, None, others, Some(b"{}"), "none").await;
    // No data, no key.
    send(&setup, None, event("empty"), None, "none").await;
    subscriber.accepts(3).await;
    // Without a key they may stand in different partitions.
    assert_eq!(BTreeSet::from_iter(ids(&subscriber)), BTreeSet::from(["before", "others", "empty"].map(String::from)));
    // No event at all, with neither key, nor data, nor headers; an attribute that isn't text.
    send(&setup, None, OwnedHeaders::new(), None, "none").await;
    let not_text = event("x").insert(Header { key: "ce_y", value: Some(&[0xff_u8][..]) });
    send(&setup, None, not_text, Some(b"{}"), "none").await;
    // Names that are no text.
    let attributes = foreign("strange", "named");
    let mut raw: Vec<(&[u8], &[u8])> =
        attributes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    raw.push((b"\xff\xfe", b"z"));
    for partition in 0..4 {
        produce_raw(&setup.servers.kafka, &setup.topic(TOPIC), partition, b"k", &raw, b"{}").await;
    }
    goes_on(&setup, &subscriber, &["k", "l", "m", "n"]).await;
    let named = ids(&subscriber).iter().filter(|id| *id == "named").count();
    assert_eq!(named, 4, "delivered without that header: {:?}", ids(&subscriber));
    let letters = open(&setup, 5).await;
    let malformed = letters.iter().filter(|letter| letter.reason == Some(Reason::Malformed)).count();
    assert_eq!(malformed, 2, "{letters:?}");
    drop(relay);
}
