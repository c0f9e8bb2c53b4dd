//! Rules of delivery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;
use towpath_relay::kafka::topics;

use crate::kafka::{committed, foreign, produce, records_now};
use crate::subscriber::{Heard, Subscriber};
use crate::support::{ServiceSetup, Setup, eventually, free_port};
use crate::{TOPIC, assert_same, by_key, event, heard_by, in_order, say, say_numbers, subscribing};

#[tokio::test]
async fn an_event_reaches_the_route_of_its_subscription_with_everything_it_has() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = setup.start().await;
    let body = json!({"topic": setup.topic(TOPIC), "key": "a key ü", "type": "thing.made", "id": "id-1",
                      "subject": "s \"ü\"", "data": {"n": 5}});
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = relay.request("alpha", "POST", "/v1/transactions").json(&json!({"events": [body]}));
    let request = request.header("towpath-traceparent", parent);
    assert_eq!(crate::support::answer(request).await.status, 200);
    let call = subscriber.hears(1).await.remove(0);
    assert_eq!(call.path, "/events");
    assert_eq!(call.header("authorization"), format!("Bearer {}", setup.delivery_token("beta")));
    assert_eq!(call.header("ce-specversion"), "1.0");
    assert_eq!((call.header("ce-id"), call.header("ce-source")), ("id-1", "/alpha"));
    assert_eq!((call.header("ce-type"), call.header("ce-subject")), ("thing.made", "s%20%22%C3%BC%22"));
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.header("towpath-event-key"), "a%20key%20%C3%BC");
    assert_eq!(call.header("towpath-event-topic"), setup.topic(TOPIC));
    assert!(!call.headers.contains_key("towpath-delivery-attempt"));
    for name in ["traceparent", "towpath-traceparent"] {
        assert!(call.header(name).starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{name}");
    }
    assert_eq!(call.body, "{\"n\":5}");
}

#[tokio::test]
async fn within_a_key_in_order_and_across_keys_beside_each_other() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "delivery_lanes = 6").await;
    let (release, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&release), Arc::clone(&arrived));
    subscriber.answer(move |_: Heard| {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            drop(gate.acquire().await);
            StatusCode::NO_CONTENT.into_response()
        }
    });
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 12, 0, 15).await;
    // All places are taken, by different keys, while nobody is answered.
    eventually("six are under way", async || match arrived.load(Ordering::SeqCst) {
        6 => Ok(()),
        other => Err(other),
    })
    .await;
    release.add_permits(1_000);
    let expected = in_order(12, 15);
    subscriber.accepts_all(&expected).await;
    assert_eq!((subscriber.overlaps(), subscriber.most_at_once()), (0, 6));
    let calls = subscriber.calls();
    assert_same(&by_key(calls.iter().map(|call| (call.key.as_str(), call.n))), &expected);
}

#[tokio::test]
async fn a_world_that_is_down_holds_the_lane_back_and_not_the_others() {
    let subscriber = Subscriber::start().await;
    let setup =
        subscribing(&subscriber.url, "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 20\ndelivery_lanes = 2").await;
    let down = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&down);
    subscriber.answer(move |heard: Heard| {
        // Each of the ways to be down, in turn.
        let status = [503, 504, 429, 502][heard.before % 4];
        let held = heard.key == "key-0" && state.load(Ordering::SeqCst);
        let status = if held { StatusCode::from_u16(status).unwrap() } else { StatusCode::OK };
        async move { status.into_response() }
    });
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 8, 0, 10).await;
    subscriber.accepts(70).await;
    let first = |calls: &[Heard]| calls.iter().filter(|call| call.key == "key-0").count();
    // Far more often than a component that fails would be asked.
    eventually("it is tried on and on", async || {
        let tried = first(&subscriber.calls());
        if tried > 25 { Ok(()) } else { Err(tried) }
    })
    .await;
    assert!(subscriber.calls().iter().filter(|call| call.key == "key-0").all(|call| call.n == 0));
    let attempts: Vec<usize> = subscriber.calls().iter().filter(|c| c.key == "key-0").map(|c| c.before).collect();
    assert_eq!(attempts, (0..attempts.len()).collect::<Vec<_>>(), "each says how often it was delivered before");
    down.store(false, Ordering::SeqCst);
    subscriber.accepts_all(&in_order(8, 10)).await;
    let letters = topics::dead_letters(&setup.topic(TOPIC), "beta");
    assert!(records_now(&setup.servers.kafka, &letters).await.is_empty());
}

/// What a token, a route or a proxy does to every event is no event's fault.
#[tokio::test]
async fn a_wrong_token_or_route_holds_events_back_and_makes_no_dead_letter() {
    let subscriber = Subscriber::start().await;
    let limits = "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 20\ndelivery_attempts = 1";
    let setup = heard_by("astray", &subscriber.url, limits).await;
    const WRONG: [u16; 8] = [302, 401, 403, 404, 405, 408, 421, 425];
    subscriber.answer(|heard: Heard| async move {
        StatusCode::from_u16(WRONG[heard.before % WRONG.len()]).expect("a status").into_response()
    });
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 3, 0, 4).await;
    eventually("every status was answered to every key, and counted", async || {
        let line = "towpath_relay_deliveries_total{service=\"astray\",result=\"misconfigured\"}";
        let counted = relay.metric(line).await;
        if counted > (3 * WRONG.len()) as f64 { Ok(()) } else { Err(counted) }
    })
    .await;
    assert!(subscriber.calls().iter().all(|call| call.n == 0), "an event waits for those before it");
    let ready = relay.readiness().await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(ready["standing"]["astray.deliveries"]["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{ready}");
    subscriber.answer_status(StatusCode::OK);
    subscriber.accepts_all(&in_order(3, 4)).await;
    let letters = topics::dead_letters(&setup.topic(TOPIC), "astray");
    assert!(records_now(&setup.servers.kafka, &letters).await.is_empty());
    assert!(relay.readiness().await["standing"].is_null());
}

#[tokio::test]
async fn no_connection_is_tried_for_ever() {
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let limits = "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 20\ndelivery_attempts = 1";
    let setup = heard_by("lonely", &url, limits).await;
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 3, 0, 4).await;
    eventually("it is held back", async || {
        let line = "towpath_relay_deliveries_total{service=\"lonely\",result=\"held_back\"}";
        let held = relay.metric(line).await;
        if held > 20.0 { Ok(()) } else { Err(held) }
    })
    .await;
    let subscriber = Subscriber::start_at(&address).await;
    subscriber.accepts_all(&in_order(3, 4)).await;
}

#[tokio::test]
async fn a_component_that_says_nothing_in_time_is_asked_again() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "delivery_timeout_ms = 100\ndelivery_backoff_ms = 1").await;
    subscriber.answer(|heard: Heard| async move {
        if heard.before < 2 {
            std::future::pending::<()>().await;
        }
        StatusCode::NO_CONTENT.into_response()
    });
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 1)]).await;
    subscriber.accepts(1).await;
    assert_eq!(subscriber.calls().len(), 3);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 2").await;
    subscriber.answer(|heard: Heard| async move {
        match heard.before {
            0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(),
            _ => StatusCode::NO_CONTENT.into_response(),
        }
    });
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 1)]).await;
    subscriber.accepts(1).await;
    let calls = subscriber.calls();
    let waited = calls[1].at - calls[0].at;
    assert!((Duration::from_secs(1)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
}

/// A component that asks for the same short time again and again is asked less and less.
#[tokio::test]
async fn waits_grow_beyond_what_a_component_asks_for() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "delivery_backoff_ms = 500\ndelivery_backoff_max_ms = 4000").await;
    subscriber.answer(|heard: Heard| async move {
        match heard.before {
            0..4 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(),
            _ => StatusCode::NO_CONTENT.into_response(),
        }
    });
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 1)]).await;
    subscriber.accepts(1).await;
    let calls = subscriber.calls();
    let waits: Vec<Duration> = calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // What was asked for, and from the fourth wait on what has doubled up to 4 s, with jitter from its half on.
    let least = [1, 1, 1, 2].map(Duration::from_secs);
    assert!(waits.len() == 4 && waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
}

#[tokio::test]
async fn a_star_stands_for_every_type_that_begins_with_its_words() {
    let subscriber = Subscriber::start().await;
    let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\ntypes = [\"thing.*\"]\nroute = \"/a\"\n\
                        [[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\ntypes = [\"part.lost\"]\nroute = \"/b\"";
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    let beta = ServiceSetup::new("beta").component(&subscriber.url).toml(subscription);
    let setup = Setup::new().service(alpha).service(beta).declare(TOPIC).databases().await;
    let relay = setup.start().await;
    let kinds = ["thing", "thing.made", "things.made", "part.lost", "part.found", "thing.part.lost"];
    for (n, kind) in kinds.into_iter().enumerate() {
        let event = json!({"topic": setup.topic(TOPIC), "key": "k", "type": kind, "data": {"n": n}});
        say(&relay, &[event]).await;
    }
    subscriber.accepts(3).await;
    everything_is_committed(&setup, kinds.len()).await;
    let calls = subscriber.calls();
    let seen: Vec<(&str, usize)> = calls.iter().map(|call| (call.path.as_str(), call.n)).collect();
    assert_eq!(seen, [("/a", 1), ("/b", 3), ("/a", 5)]);
}

#[tokio::test]
async fn types_that_nobody_subscribed_are_skipped() {
    let subscriber = Subscriber::start().await;
    let subscription = "[[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\ntypes = [\"a\"]\nroute = \"/a\"\n\
                        [[services.beta.subscriptions]]\ntopic = \"TOPIC(things)\"\ntypes = [\"b\"]\nroute = \"/b\"";
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC);
    let beta = ServiceSetup::new("beta").component(&subscriber.url).toml(subscription);
    let setup = Setup::new().service(alpha).service(beta).declare(TOPIC).databases().await;
    let relay = setup.start().await;
    for (n, kind) in ["c", "a", "c", "b", "a", "c"].into_iter().enumerate() {
        let event = json!({"topic": setup.topic(TOPIC), "key": "k", "type": kind, "data": {"n": n}});
        say(&relay, &[event]).await;
    }
    subscriber.accepts(3).await;
    let calls = subscriber.calls();
    let seen: Vec<(&str, usize)> = calls.iter().map(|call| (call.path.as_str(), call.n)).collect();
    assert_eq!(seen, [("/a", 1), ("/b", 3), ("/a", 4)]);
    // Those that were skipped are done as well.
    everything_is_committed(&setup, 6).await;
}

/// Waits until the group has committed beyond `count` records of [`TOPIC`].
async fn everything_is_committed(setup: &Setup, count: usize) {
    let group = format!("{}.beta", setup.id);
    let records = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    assert_eq!(records.len(), count);
    eventually("every offset is committed", async || {
        let marks = committed(&setup.servers.kafka, &group, &setup.topic(TOPIC), 4).await;
        let left = records.iter().filter(|record| record.offset >= marks[record.partition as usize]).count();
        if left == 0 { Ok(()) } else { Err((left, marks)) }
    })
    .await;
}

#[tokio::test]
async fn a_crash_redelivers_and_never_skips() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "lease_ms = 1000\ndelivery_lanes = 4").await;
    // One key is stuck from the start, so that the low-water mark of its partition can't move.
    let stuck = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&stuck);
    subscriber.answer(move |heard: Heard| {
        let held = heard.key == "key-3" && state.load(Ordering::SeqCst);
        let status = if held { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
        async move { status.into_response() }
    });
    let first = setup.start().await;
    say_numbers(&setup, &first, 16, 0, 10).await;
    subscriber.accepts(120).await;
    first.crash();
    stuck.store(false, Ordering::SeqCst);
    let second = setup.start().await;
    subscriber.accepts_all(&in_order(16, 10)).await;
    drop(second);
}

#[tokio::test]
async fn what_was_done_before_a_graceful_stop_does_not_come_again() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let first = setup.start().await;
    say_numbers(&setup, &first, 10, 0, 10).await;
    subscriber.accepts(100).await;
    assert!(first.stop().await);
    let second = setup.start().await;
    say_numbers(&setup, &second, 10, 10, 2).await;
    subscriber.accepts_all(&in_order(10, 12)).await;
    assert_eq!(subscriber.calls().len(), 120);
}

#[tokio::test]
async fn back_pressure_pauses_and_the_poll_never_stops() {
    let subscriber = Subscriber::start().await;
    let setup = heard_by("pressed", &subscriber.url, "delivery_buffer = 8\ndelivery_lanes = 2").await;
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    subscriber.answer(move |_: Heard| {
        let gate = Arc::clone(&gate);
        async move {
            drop(gate.acquire().await);
            StatusCode::NO_CONTENT.into_response()
        }
    });
    let relay = setup.start().await;
    say_numbers(&setup, &relay, 8, 0, 50).await;
    subscriber.hears(2).await;
    // Blocked for longer than a session: a poll that stopped would cost the membership, and the events come again.
    let began = Instant::now();
    eventually("a session has passed", async || {
        let buffered = relay.metric("towpath_relay_delivery_buffer{service=\"pressed\"}").await;
        assert!(buffered < 20.0, "{buffered} events are buffered");
        if began.elapsed() > Duration::from_secs(8) { Ok(()) } else { Err(buffered) }
    })
    .await;
    open.add_permits(10_000);
    subscriber.accepts_all(&in_order(8, 50)).await;
    assert_eq!(subscriber.calls().len(), 400);
}

#[tokio::test]
async fn events_of_strangers_are_delivered_too() {
    let subscriber = Subscriber::start().await;
    let setup = subscribing(&subscriber.url, "").await;
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "k", 1)]).await;
    subscriber.accepts(1).await;
    let (kafka, topic) = (&setup.servers.kafka, setup.topic(TOPIC));
    let mut binary = foreign("strange", "7");
    binary.push(("content-type".into(), "text/plain".into()));
    let binary: Vec<(&str, &str)> = binary.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    produce(kafka, &topic, None, &binary, "hello").await;
    let document = json!({"specversion": "1.0", "id": "8", "source": "/s", "type": "t", "data": {"n": 9}}).to_string();
    produce(kafka, &topic, Some("k"), &[("content-type", "application/cloudevents+json")], &document).await;
    subscriber.accepts(3).await;
    let calls = subscriber.calls();
    let by_id: BTreeMap<&str, &Heard> = calls.iter().map(|call| (call.header("ce-id"), call)).collect();
    assert_eq!((by_id["7"].header("content-type"), &by_id["7"].body[..]), ("text/plain", &b"hello"[..]));
    assert!(!by_id["7"].headers.contains_key("towpath-event-key"));
    assert_eq!((by_id["8"].n, by_id["8"].header("content-type")), (9, "application/json"));
}
