//! What stands still is noticed, replaced, counted and shown in `/readyz`; afterwards everything is published and delivered, in
//! order. A panic ends no part.

use serde_json::Value;
use towpath_fault_proxy::{Fate, Kafka, KafkaRequest, Proxy};

use crate::kafka::{key_and_number, records, records_now};
use crate::kafka_away::before;
use crate::subscriber::Subscriber;
use crate::support::{Servers, ServiceSetup, Setup, TestRelay, eventually};
use crate::traps::{hang_at, is_set, panic_at};
use crate::{TOPIC, assert_same, by_key, heard_by, in_order, say_numbers, say_numbers_as};

const KEYS: usize = 8;

/// How often a part of a service was replaced.
async fn replaced(relay: &TestRelay, service: &str, part: &str) -> f64 {
    relay.metric(&format!("towpath_relay_replaced_total{{service=\"{service}\",part=\"{part}\"}}")).await
}

/// Waits until a part that serves all services stands still, and `/readyz` says so. Answers what it says.
pub(crate) async fn noticed_of_all(relay: &TestRelay, part: &str) -> Value {
    eventually("what stands still is noticed", async || {
        let readiness = relay.readiness().await;
        let told = readiness["standing"][part].clone();
        if told["replaced"].as_u64().is_some_and(|times| times > 0) { Ok(told) } else { Err(readiness) }
    })
    .await
}

/// Waits until a part was replaced. Answers what `/readyz` says of it, under this name.
pub(crate) async fn noticed(relay: &TestRelay, service: &str, part: &str, name: &str) -> Value {
    eventually("what stands still is replaced", async || {
        let (count, readiness) = (replaced(relay, service, part).await, relay.readiness().await);
        let told = readiness["standing"][format!("{service}.{name}")].clone();
        if count > 0.0 && told["cause"].is_string() { Ok(told) } else { Err((count, readiness)) }
    })
    .await
}

/// Waits until nothing of a service stands still.
pub(crate) async fn moves(relay: &TestRelay, service: &str) {
    eventually("everything moves", async || {
        let readiness = relay.readiness().await;
        let standing = readiness["standing"].as_object().into_iter().flatten();
        let own: Vec<String> =
            standing.map(|(name, _)| name.clone()).filter(|name| name.starts_with(service)).collect();
        if own.is_empty() { Ok(()) } else { Err(own) }
    })
    .await;
}

/// A setup behind a proxy, whose service of this name publishes.
pub(crate) async fn publishing_behind(proxy: &Proxy<Kafka>, service: &str) -> Setup {
    crate::show_logs();
    let service = ServiceSetup::new(service).database().publishes(TOPIC);
    let setup = Setup::new().kafka(&proxy.address()).service(service).declare(TOPIC);
    setup.toml("[limits]\nlease_ms = 2000").databases().await
}

/// Waits until so many events of each key are in the topic, once and in order.
pub(crate) async fn published(setup: &Setup, count: usize) {
    let (kafka, topic) = (Servers::from_env().kafka, setup.topic(TOPIC));
    records(&kafka, &topic, KEYS * count).await;
    assert_same(&by_key(records_now(&kafka, &topic).await.iter().map(key_and_number)), &in_order(KEYS, count));
}

#[tokio::test]
async fn a_publisher_whose_client_stands_is_replaced() {
    const NAME: &str = "unheard";
    let proxy = before(&Servers::from_env().kafka).await;
    let setup = publishing_behind(&proxy, NAME).await;
    let relay = setup.start().await;
    say_numbers_as(NAME, &setup, &relay, KEYS, 0, 3).await;
    published(&setup, 3).await;
    // Kafka hears nothing of this client any more, and answers all others.
    let client = format!("{}-outbox-{NAME}", setup.id);
    proxy.rule(move |request: &KafkaRequest| if request.client == client { Fate::Ignored } else { Fate::Pass });
    say_numbers_as(NAME, &setup, &relay, KEYS, 3, 3).await;
    let told = noticed(&relay, NAME, "outbox", "outbox").await;
    assert!(told["cause"].as_str().unwrap().contains("has waited for"), "{told}");
    proxy.pass();
    say_numbers_as(NAME, &setup, &relay, KEYS, 6, 2).await;
    published(&setup, 8).await;
    moves(&relay, NAME).await;
}

/// Nothing waits in the outbox, so only the lease shows it.
#[tokio::test]
async fn a_publisher_that_cannot_renew_its_lease_is_replaced() {
    const NAME: &str = "expiring";
    let proxy = before(&Servers::from_env().kafka).await;
    let setup = publishing_behind(&proxy, NAME).await;
    let relay = setup.start().await;
    say_numbers_as(NAME, &setup, &relay, KEYS, 0, 2).await;
    published(&setup, 2).await;
    let admin = setup.admin(NAME).await;
    let refuse = "
        CREATE FUNCTION towpath.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.id = TG_ARGV[0] AND NEW.expires_at > OLD.expires_at THEN
                RAISE EXCEPTION 'this one is not renewed';
            END IF;
            RETURN NEW;
        END $$;
        DO $$
        BEGIN
            EXECUTE format('CREATE TRIGGER refuse BEFORE UPDATE ON towpath.publisher FOR EACH ROW
                            EXECUTE FUNCTION towpath.refuse(%L)', (SELECT id FROM towpath.publisher));
        END $$";
    admin.batch_execute(refuse).await.expect("the trigger");
    let told = noticed(&relay, NAME, "outbox", "outbox").await;
    assert!(told["cause"].as_str().unwrap().contains("lease"), "{told}");
    moves(&relay, NAME).await;
    say_numbers_as(NAME, &setup, &relay, KEYS, 2, 2).await;
    published(&setup, 4).await;
}

#[tokio::test]
async fn a_poll_thread_that_hangs_is_replaced() {
    const NAME: &str = "hanging";
    let subscriber = Subscriber::start().await;
    let setup = heard_by(NAME, &subscriber.url, "").await;
    let hang = hang_at("Kafka assigned partitions", NAME);
    let relay = setup.start().await;
    say_numbers(&setup, &relay, KEYS, 0, 3).await;
    let told = noticed(&relay, NAME, "consumer", "consumer").await;
    assert!(told["cause"].as_str().unwrap().contains("has not come round"), "{told}");
    subscriber.accepts_all(&in_order(KEYS, 3)).await;
    // It comes round after all, and has nothing to deliver.
    drop(hang);
    moves(&relay, NAME).await;
    say_numbers(&setup, &relay, KEYS, 3, 3).await;
    subscriber.accepts_all(&in_order(KEYS, 6)).await;
    assert_eq!(subscriber.overlaps(), 0);
}

/// The poll thread, a lane, the publisher and a timer, each at its work.
#[tokio::test]
async fn a_panic_stays_alone() {
    let [says, hears, ticks] = ["panics-saying", "panics-hearing", "panics-ticking"];
    let (subscriber, ticking) = (Subscriber::start().await, Subscriber::start().await);
    let subscription = format!("[[services.{hears}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
    let timer = format!("[[services.{ticks}.timers]]\nname = \"tidy-up\"\nevery_ms = 200\nroute = \"/tidy-up\"");
    let setup = Setup::new()
        .service(ServiceSetup::new(says).database().publishes(TOPIC))
        .service(ServiceSetup::new(hears).component(&subscriber.url).toml(&subscription))
        .service(ServiceSetup::new(ticks).database().component(&ticking.url).toml(&timer))
        .declare(TOPIC)
        .toml("[limits]\nlease_ms = 1000")
        .databases()
        .await;
    panic_at("publishing the outbox", says);
    panic_at("Kafka assigned partitions", hears);
    panic_at("deliver", hears);
    panic_at("timer", ticks);
    let relay = setup.start().await;
    say_numbers_as(says, &setup, &relay, KEYS, 0, 3).await;
    subscriber.accepts_all(&in_order(KEYS, 3)).await;
    ticking.accepts(3).await;
    let traps = [says, hears, ticks].map(is_set);
    assert_eq!(traps, [false; 3], "each of them panicked");
    for (service, part) in [(says, "outbox"), (hears, "consumer"), (hears, "lane"), (ticks, "timer")] {
        assert!(replaced(&relay, service, part).await > 0.0, "{service} {part}");
    }
    let health = reqwest::get(format!("{}/healthz", relay.admin_url)).await.expect("it answers");
    assert_eq!(health.status(), 200, "no part has ended");
    for service in [says, hears, ticks] {
        moves(&relay, service).await;
    }
}

/// Somebody holds the timer's row for as long as it takes: the relay can't take the turn, and nobody else does.
#[tokio::test]
async fn a_timer_that_is_due_and_not_called_is_noticed() {
    const NAME: &str = "overdue";
    let subscriber = Subscriber::start().await;
    let timer = format!("[[services.{NAME}.timers]]\nname = \"tidy-up\"\nevery_ms = 300\nroute = \"/tidy-up\"");
    let service = ServiceSetup::new(NAME).database().component(&subscriber.url).toml(&timer);
    let setup = Setup::new().service(service).toml("[limits]\nlease_ms = 500").databases().await;
    let relay = setup.start().await;
    subscriber.accepts(2).await;
    let mut admin = setup.admin(NAME).await;
    let held = admin.transaction().await.expect("begins");
    held.execute("SELECT FROM towpath.timer WHERE name = 'tidy-up' FOR UPDATE", &[]).await.expect("holds it");
    let told = noticed(&relay, NAME, "timer", "timer.tidy-up").await;
    assert!(told["cause"].as_str().unwrap().contains("has been due"), "{told}");
    held.rollback().await.expect("lets it go");
    let called = subscriber.accepted().len();
    subscriber.accepts(called + 2).await;
    moves(&relay, NAME).await;
}

/// A relay that began is ready once its publishers and consumers have their shares, and says so until then.
#[tokio::test]
async fn a_relay_is_not_ready_before_it_has_its_shares() {
    const NAME: &str = "beginning";
    let subscriber = Subscriber::start().await;
    let setup = heard_by(NAME, &subscriber.url, "").await;
    // It holds the first assignment up: until then it has no partition.
    let hang = hang_at("Kafka assigned partitions", NAME);
    let relay = setup.start().await;
    eventually("the relay has its first assignment", async || if is_set(NAME) { Err("not yet") } else { Ok(()) }).await;
    for (status, hang) in [("starting", Some(hang)), ("ready", None)] {
        eventually(status, async || {
            let readiness = relay.readiness().await;
            if readiness["status"] == status { Ok(()) } else { Err(readiness) }
        })
        .await;
        drop(hang);
    }
    say_numbers(&setup, &relay, KEYS, 0, 1).await;
    subscriber.accepts_all(&in_order(KEYS, 1)).await;
}
