//! Dead letters: how events become some, and what a person can do with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::IntoResponse;
use http::StatusCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use towpath_fault_proxy::{Fate, KafkaRequest};
use towpath_relay::events::dead_letters::{self, Filter, Reason, headers};
use towpath_relay::kafka::Record;
use towpath_relay::kafka::topics;

use crate::kafka::{PATIENCE, produce, records, records_now};
use crate::subscriber::{Heard, Subscriber};
use crate::support::{Setup, TestRelay, eventually};
use crate::{TOPIC, event, in_order, say, say_numbers, subscribing};

async fn letters(setup: &Setup, count: usize) -> Vec<Record> {
    let topic = topics::dead_letters(&setup.topic(TOPIC), "beta");
    let letters = records(&setup.servers.kafka, &topic, count).await;
    assert_eq!(letters.len(), count, "{letters:?}");
    letters
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    record.header(name).unwrap_or_else(|| panic!("no {name}: {record:?}"))
}

/// Hears with `subscriber`, which answers key-1 with this status and a body, and everything else with 204.
async fn refusing(subscriber: &Subscriber, status: StatusCode, limits: &str) -> (Setup, TestRelay) {
    subscriber.answer(move |heard: Heard| async move {
        if heard.key == "key-1" { (status, "it's\nbroken").into_response() } else { StatusCode::OK.into_response() }
    });
    let setup = subscribing(&subscriber.url, limits).await;
    let relay = setup.start().await;
    (setup, relay)
}

#[tokio::test]
async fn a_component_that_fails_is_asked_a_bounded_number_of_times() {
    let subscriber = Subscriber::start().await;
    let limits = "delivery_attempts = 4\ndelivery_backoff_ms = 1\ndelivery_backoff_max_ms = 4";
    let (setup, relay) = refusing(&subscriber, StatusCode::INTERNAL_SERVER_ERROR, limits).await;
    say_numbers(&setup, &relay, 3, 0, 2).await;
    subscriber.accepts(4).await;
    let letters = letters(&setup, 2).await;
    let calls = subscriber.calls();
    let tried: Vec<(usize, usize)> = calls.iter().filter(|c| c.key == "key-1").map(|c| (c.n, c.before)).collect();
    assert_eq!(tried, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]);
    for (n, letter) in letters.iter().enumerate() {
        assert_eq!((header(letter, headers::REASON), header(letter, headers::ATTEMPTS)), ("failed", "4"));
        assert_eq!((header(letter, headers::STATUS), header(letter, headers::SERVICE)), ("500", "beta"));
        assert_eq!(header(letter, headers::DETAIL), "500: it's broken");
        assert_eq!(header(letter, headers::TOPIC), setup.topic(TOPIC));
        assert!(header(letter, headers::TIME).ends_with('Z'));
        assert_eq!(letter.key.as_deref(), Some(&b"key-1"[..]));
        let data: Value = serde_json::from_slice(letter.value.as_ref().expect("data")).expect("JSON");
        assert_eq!(data["n"], n);
        // Where it came from is where it stands.
        let place = (header(letter, headers::PARTITION), header(letter, headers::OFFSET));
        let origin = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
        let found = origin.iter().find(|r| (r.partition.to_string().as_str(), r.offset.to_string().as_str()) == place);
        assert_eq!(found.expect("the event").header("ce_id"), letter.header("ce_id"));
    }
}

#[tokio::test]
async fn what_is_refused_is_a_dead_letter_at_once() {
    let subscriber = Subscriber::start().await;
    let (setup, relay) = refusing(&subscriber, StatusCode::UNPROCESSABLE_ENTITY, "").await;
    say_numbers(&setup, &relay, 3, 0, 3).await;
    subscriber.accepts(6).await;
    let letters = letters(&setup, 3).await;
    assert_eq!(subscriber.calls().len(), 9);
    assert!(letters.iter().all(|l| (header(l, headers::REASON), header(l, headers::ATTEMPTS)) == ("refused", "1")));
    let health: Value = eventually("the health report counts them", async || {
        let answer = reqwest::get(format!("{}/readyz", relay.admin_url)).await.expect("health");
        let health: Value = answer.json().await.expect("JSON");
        if health["dead_letters"]["beta"] == 3 { Ok(health) } else { Err(health) }
    })
    .await;
    assert_eq!(health["status"], "ready");
}

#[tokio::test]
async fn what_is_no_event_is_a_dead_letter_with_the_reason() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = setup.start().await;
    let (kafka, topic) = (&setup.servers.kafka, setup.topic(TOPIC));
    say(&relay, &[event(&setup, "k", 0)]).await;
    subscriber.accepts(1).await;
    produce(kafka, &topic, Some("k"), &[], "no event").await;
    produce(kafka, &topic, Some("k"), &[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s")], "{}").await;
    produce(kafka, &topic, Some("k"), &[("content-type", "application/cloudevents+json")], "{").await;
    produce(kafka, &topic, Some("k"), &[("content-type", "application/cloudevents-batch+json")], "[]").await;
    say(&relay, &[event(&setup, "k", 1)]).await;
    subscriber.accepts(2).await;
    assert_eq!(subscriber.calls().len(), 2);
    let letters = letters(&setup, 4).await;
    let details: Vec<&str> = letters.iter().map(|letter| header(letter, headers::DETAIL)).collect();
    assert_eq!(&details[..2], ["the attribute specversion is missing", "the attribute type is missing"]);
    assert!(details[2].starts_with("not a CloudEvent in JSON"), "{}", details[2]);
    assert!(details[3].contains("application/cloudevents-batch+json"), "{}", details[3]);
    assert!(letters.iter().all(|letter| header(letter, headers::REASON) == "malformed"));
    assert_eq!(letters[0].value.as_deref(), Some(&b"no event"[..]));
}

#[tokio::test]
async fn letters_are_listed_replayed_in_order_and_dropped() {
    let subscriber = Subscriber::start().await;
    let (setup, relay) = refusing(&subscriber, StatusCode::CONFLICT, "").await;
    say_numbers(&setup, &relay, 2, 0, 4).await;
    subscriber.accepts(4).await;
    letters(&setup, 4).await;
    let config = setup.config("cli");
    let all = dead_letters::list(&config, &Filter::default()).await.expect("lists");
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|l| (l.service.as_str(), l.reason, l.status) == ("beta", Some(Reason::Refused), Some(409))));
    let one = Filter { ids: [all[1].id.clone()].into(), ..Filter::default() };
    let one = dead_letters::show(&config, &one).await.expect("shows");
    assert_eq!((one.len(), &one[0].id, one[0].record.value.as_deref()), (1, &all[1].id, Some(&b"{\"n\":1}"[..])));
    let none = [
        Filter { key: Some("key-0".into()), ..Filter::default() },
        Filter { service: Some("alpha".into()), ..Filter::default() },
        Filter { reason: Some(Reason::Failed), ..Filter::default() },
        Filter { topic: Some("another".into()), ..Filter::default() },
        Filter { until: all[0].time, ..Filter::default() },
    ];
    for filter in none {
        assert_eq!(dead_letters::list(&config, &filter).await.expect("lists"), [], "{filter:?}");
    }
    let first = Filter { ids: [all[0].id.clone()].into(), ..Filter::default() };
    assert_eq!(dead_letters::drop(&config, &first).await.expect("drops").len(), 1);
    // They are refused once more, and become letters again that know it.
    let replayed = dead_letters::replay(&config, &Filter { service: Some("beta".into()), ..Filter::default() }).await;
    assert_eq!(replayed.expect("replays").done, all[1..]);
    let again = eventually("they are letters again", async || {
        let open = dead_letters::list(&config, &Filter::default()).await.expect("lists");
        if open.len() == 3 { Ok(open) } else { Err(open.len()) }
    })
    .await;
    assert!(again.iter().all(|letter| letter.replays == 1 && letter.origin.contains(".retry/")));
    subscriber.answer_status(StatusCode::OK);
    assert_eq!(dead_letters::replay(&config, &Filter::default()).await.expect("replays").done.len(), 3);
    subscriber.accepts(7).await;
    let accepted: Vec<usize> =
        subscriber.accepted().into_iter().filter(|(key, _)| key == "key-1").map(|(_, n)| n).collect();
    assert_eq!(accepted, [1, 2, 3], "in order, and the one that was dropped not at all");
    let last = subscriber.calls().pop().expect("a call");
    assert_eq!((last.path.as_str(), last.header("towpath-event-topic")), ("/events", setup.topic(TOPIC).as_str()));
    assert_eq!(dead_letters::list(&config, &Filter::default()).await.expect("lists"), []);
}

#[tokio::test]
async fn two_people_at_once_replay_no_letter_twice() {
    let subscriber = Subscriber::start().await;
    let (setup, relay) = refusing(&subscriber, StatusCode::CONFLICT, "").await;
    say_numbers(&setup, &relay, 2, 0, 20).await;
    letters(&setup, 20).await;
    subscriber.answer_status(StatusCode::OK);
    let config = setup.config("cli");
    let filter = Filter::default();
    // Either may be cut short by the other; together they replay each letter once.
    let (_, _) = tokio::join!(dead_letters::replay(&config, &filter), dead_letters::replay(&config, &filter));
    let _ = dead_letters::replay(&config, &filter).await.expect("replays what is left");
    subscriber.accepts_all(&in_order(2, 20)).await;
    let calls = subscriber.calls().into_iter().filter(|call| call.key == "key-1").count();
    assert_eq!(calls, 40, "refused once and replayed once");
}

/// Somebody settles letters again and again, while more land: each is settled once or still there.
#[tokio::test]
async fn no_letter_is_lost_that_lands_while_others_are_settled() {
    const LETTERS: usize = 300;
    let subscriber = Subscriber::start().await;
    let (setup, relay) = refusing(&subscriber, StatusCode::CONFLICT, "").await;
    let is_over = AtomicBool::new(false);
    let speaking = async {
        for n in 0..LETTERS {
            say(&relay, &[event(&setup, "key-1", n)]).await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let config = setup.config("cli");
    let settling = async {
        let mut settled = std::collections::BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) || settled.is_empty() {
            let letters = dead_letters::drop(&config, &Filter::default()).await.expect("drops");
            settled.extend(letters.into_iter().filter_map(|letter| letter.event_id));
        }
        settled
    };
    let ((), settled) = tokio::join!(speaking, settling);
    eventually("each letter is settled or open", async || {
        let open = dead_letters::list(&config, &Filter::default()).await.expect("lists");
        let open: Vec<_> = open.into_iter().filter_map(|letter| letter.event_id).collect();
        assert!(open.iter().all(|id| !settled.contains(id)), "what was settled is not open");
        if open.len() + settled.len() == LETTERS { Ok(()) } else { Err((open.len(), settled.len())) }
    })
    .await;
    // Nothing stands before the first open letter: it was deleted.
    assert_eq!(dead_letters::drop(&config, &Filter::default()).await.expect("drops").len(), LETTERS - settled.len());
    let topic = topics::dead_letters(&setup.topic(TOPIC), "beta");
    eventually("the topic is empty", async || {
        let left = records_now(&setup.servers.kafka, &topic).await;
        if left.is_empty() { Ok(()) } else { Err(left.len()) }
    })
    .await;
}

/// Letters land faster than a list is read: it ends where they ended when it began.
#[tokio::test]
async fn a_list_ends_however_many_letters_land_meanwhile() {
    const MANY: usize = 20_000;
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let config = setup.config("cli");
    topics::ensure(&config, config.kafka.as_ref().expect("Kafka")).await.expect("makes them");
    let topic = topics::dead_letters(&setup.topic(TOPIC), "beta");
    let producer: FutureProducer = crate::support::kafka_client(&setup.servers.kafka).create().expect("a producer");
    let write = async |n: usize| {
        let offset = n.to_string();
        let header = Header { key: headers::OFFSET, value: Some(&offset) };
        let record = FutureRecord::<(), _>::to(&topic).headers(OwnedHeaders::new().insert(header)).payload("{}");
        producer.send(record, PATIENCE).await.expect("Kafka takes it");
    };
    for n in 0..3 {
        write(n).await;
    }
    let landing = async {
        for n in 3..MANY {
            write(n).await;
        }
    };
    let all = Filter::default();
    tokio::select! {
        () = landing => panic!("{MANY} letters have landed, and the list has not ended"),
        listed = dead_letters::list(&config, &all) => {
            let listed = listed.expect("lists").len();
            assert!((3..MANY).contains(&listed), "{listed}");
        }
    }
}

/// Kafka's client gives up for good where it hears that it may not write; the relay does not.
#[tokio::test]
async fn letters_are_written_once_kafka_lets_the_relay_write() {
    const INIT_PRODUCER_ID: i16 = 22;
    const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    let subscriber = Subscriber::start().await;
    subscriber.answer_status(StatusCode::CONFLICT);
    let kafka = crate::support::Servers::from_env().kafka;
    let proxy = crate::kafka_away::before(&kafka).await;
    let setup = subscribing(&subscriber.url, "").await.kafka(&proxy.address());
    let client = format!("{}-dead-letters", setup.id);
    proxy.rule(move |request: &KafkaRequest| {
        if (&*request.client, request.api_key) != (&*client, INIT_PRODUCER_ID) {
            return Fate::Pass;
        }
        // https://kafka.apache.org/protocol#The_Messages_InitProducerId: not throttled, the error, no id and no epoch.
        let tags: &[u8] = if request.version >= 2 { &[0] } else { &[] };
        let correlation = request.correlation.to_be_bytes();
        let error = CLUSTER_AUTHORIZATION_FAILED.to_be_bytes();
        let body = [&correlation[..], tags, &[0; 4], &error, &[0xff; 10], tags].concat();
        Fate::Answered([&(body.len() as i32).to_be_bytes()[..], &body].concat().into())
    });
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 2, 0, 2).await;
    proxy.until_struck(1).await;
    // The first letter has failed: each of both keys is asked about once.
    subscriber.hears(2).await;
    proxy.pass();
    let letters = records(&kafka, &topics::dead_letters(&setup.topic(TOPIC), "beta"), 4).await;
    assert!(letters.iter().all(|letter| header(letter, headers::REASON) == "refused"));
}

#[tokio::test]
async fn a_dead_letter_is_written_before_the_event_counts_as_done() {
    let subscriber = Subscriber::start().await;
    let down = Arc::new(AtomicBool::new(false));
    let proxy = crate::kafka_away::before(&crate::support::Servers::from_env().kafka).await;
    let line = Arc::clone(&down);
    let (proxy, cut) = (Arc::new(proxy), Arc::new(AtomicBool::new(false)));
    let (behind, once) = (Arc::clone(&proxy), Arc::clone(&cut));
    subscriber.answer(move |_: Heard| {
        // Kafka goes away between the component's answer and the dead letter.
        if !once.swap(true, Ordering::SeqCst) {
            behind.shut();
            line.store(true, Ordering::SeqCst);
        }
        async { StatusCode::BAD_REQUEST.into_response() }
    });
    let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"";
    let alpha = crate::support::ServiceSetup::new("alpha").database().publishes(TOPIC);
    let beta = crate::support::ServiceSetup::new("beta").component(&subscriber.url).toml(subscription);
    let setup = Setup::new().kafka(&proxy.address()).service(alpha).service(beta).declare(TOPIC).databases().await;
    let first = setup.start().await;
    say(&first, &[event(&setup, "k", 0)]).await;
    subscriber.hears(1).await;
    eventually("the line is cut", async || if down.load(Ordering::SeqCst) { Ok(()) } else { Err(()) }).await;
    first.crash();
    proxy.open();
    let _second = setup.start().await;
    subscriber.hears(2).await;
    let kafka = crate::support::Servers::from_env().kafka;
    let letters = records(&kafka, &topics::dead_letters(&setup.topic(TOPIC), "beta"), 1).await;
    assert_eq!(header(&letters[0], headers::REASON), "refused");
}
