//! Who may do what in Kafka: nobody without a login, each service its own, and what is missing is told and heals.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, FutureProducer, FutureRecord, Producer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towpath_kafka_admin::{Acl, Connection, Login, Resource};

use crate::support::{Component, ServiceSetup, Setup, TestRelay, eventually, kafka_client_as};
use crate::{TOPIC, event, say, subscribing};

const TIMEOUT: Duration = Duration::from_secs(20);

fn as_service(setup: &Setup, service: &str) -> ClientConfig {
    kafka_client_as(&setup.servers.kafka, &Login::new(&setup.kafka_user(service), "test"))
}

/// Sends an event as an attacker would, and answers what came of it.
async fn forge(mut config: ClientConfig, topic: &str) -> Result<(), KafkaError> {
    let producer: FutureProducer = config.set("message.timeout.ms", "15000").create().expect("a producer");
    let record = FutureRecord::to(topic).key("key-0").payload("{\"n\":0}");
    producer.send(record, TIMEOUT).await.map(drop).map_err(|(error, _)| error)
}

#[tokio::test]
async fn nobody_writes_the_topic_of_another_service() {
    let component = Component::start().await;
    let setup = subscribing(&component.url, "").await;
    let relay = setup.start().await;
    say(&relay, &[event(&setup, "key-0", 1)]).await;
    eventually("the event is delivered", async || if component.calls().len() == 1 { Ok(()) } else { Err(()) }).await;

    let topic = setup.topic(TOPIC);
    let denied = KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed);
    assert_eq!(forge(as_service(&setup, "beta"), &topic).await, Err(denied), "a service that only hears it");
    assert_eq!(
        forge(as_service(&setup, "relay-itself"), &topic).await.map_err(|error| error.rdkafka_error_code()),
        Err(Some(RDKafkaErrorCode::TopicAuthorizationFailed)),
        "the relay's own user"
    );
    let mut stranger = ClientConfig::new();
    stranger.set("bootstrap.servers", &setup.servers.kafka);
    assert!(forge(stranger, &topic).await.is_err(), "a stranger without a login");
    let liar = kafka_client_as(&setup.servers.kafka, &Login::new(&setup.kafka_user("alpha"), "guessed"));
    assert!(forge(liar, &topic).await.is_err(), "a stranger who guesses");

    say(&relay, &[event(&setup, "key-0", 2)]).await;
    eventually("only what alpha said is delivered", async || match component.calls() {
        calls if calls.iter().any(|call| call.json()["n"] == 2) => Ok(calls),
        calls => Err(calls.len()),
    })
    .await;
    let heard: Vec<_> = component.calls().iter().map(|call| call.json()["n"].clone()).collect();
    assert_eq!(heard, [1, 2]);
    assert!(relay.stop().await);
}

/// A broker that takes memory for what a frame announces has none left after four of these.
#[tokio::test]
async fn kafka_takes_no_memory_for_what_is_only_announced() {
    const ANNOUNCED: i32 = 100 << 20;
    let component = Component::start().await;
    let setup = subscribing(&component.url, "").await;
    let relay = setup.start().await;
    let kafka = &setup.servers.kafka;
    let login = Login::new(&setup.kafka_user("alpha"), "test");
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(("a stranger", TcpStream::connect(kafka).await.expect("Kafka listens")));
        let service = Connection::open(kafka, &login).await.expect("a login");
        connections.push(("a service", service.into_stream()));
    }
    for (_, connection) in &mut connections {
        connection.write_i32(ANNOUNCED).await.expect("it is written");
    }
    for (who, mut connection) in connections {
        let closed = tokio::time::timeout(TIMEOUT, connection.read_u8()).await.expect("Kafka hangs up");
        assert!(closed.is_err(), "{who} is answered");
    }
    say(&relay, &[event(&setup, "key-0", 1)]).await;
    eventually("Kafka serves others", async || if component.calls().len() == 1 { Ok(()) } else { Err(()) }).await;
    assert!(relay.stop().await);
}

#[tokio::test]
async fn nobody_reads_or_fences_for_another_service() {
    let component = Component::start().await;
    let setup = subscribing(&component.url, "").await;
    let prefix = &setup.id;
    let refused = |service: &str, settings: &[(&str, String)]| {
        let mut config = as_service(&setup, service);
        for (name, value) in settings {
            config.set(*name, value);
        }
        config
    };
    // Alpha would fence the transactions of another service, and beta those of alpha.
    for (service, of) in [("alpha", "beta"), ("beta", "alpha")] {
        let id = ("transactional.id", format!("{prefix}.{of}.stolen"));
        let (config, what) = (refused(service, &[id]), format!("{service} as {of}"));
        let outcome = tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = config.create().expect("a producer");
            producer.init_transactions(TIMEOUT)
        });
        let code = outcome.await.expect("no panic").expect_err(&what).rdkafka_error_code();
        assert_eq!(code, Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed), "{what}");
    }
    // It would take beta's partitions in its own group, and its offsets.
    let config = refused("alpha", &[("group.id", format!("{prefix}.beta"))]);
    let topic = setup.topic(TOPIC);
    let outcome = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&[&topic]).expect("subscribes");
        loop {
            if let Some(polled) = consumer.poll(TIMEOUT) {
                return polled.map(drop);
            }
        }
    });
    let code = outcome.await.expect("no panic").expect_err("alpha in beta's group").rdkafka_error_code();
    let denied = [RDKafkaErrorCode::GroupAuthorizationFailed, RDKafkaErrorCode::TopicAuthorizationFailed];
    assert!(code.is_some_and(|code| denied.contains(&code)), "{code:?}");
}

/// What alpha (publishes), beta (hears) and gamma (hears too) need; gamma is the service that goes on.
async fn three(component: &Component) -> Setup {
    crate::show_logs();
    let hears = |name: &str| {
        let subscription = format!("[[services.{name}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/{name}\"");
        ServiceSetup::new(name).component(&component.url).toml(&subscription)
    };
    let publishes = |name: &str| ServiceSetup::new(name).database().publishes(TOPIC);
    let setup = Setup::new().service(publishes("alpha")).service(publishes("delta")).service(hears("beta"));
    setup.service(hears("gamma")).declare(TOPIC).databases().await
}

/// Leaves the users everything but what `taken` names.
async fn without(setup: &Setup, taken: impl Fn(&Acl) -> bool) {
    let left: BTreeSet<Acl> = setup.acls().into_iter().filter(|acl| !taken(acl)).collect();
    assert_ne!(left, setup.acls(), "something is taken");
    let services = ["relay-itself", "alpha", "beta", "gamma", "delta"];
    let users: Vec<String> = services.map(|service| setup.kafka_user(service)).into();
    setup.kafka_admin().await.allow_exactly(&users, &left).await.expect("the rights are taken");
}

async fn says(relay: &TestRelay, wanted: &str) {
    eventually(&format!("/readyz says {wanted}"), async || {
        let ready = relay.http.get(format!("{}/readyz", relay.admin_url)).send().await.expect("readyz");
        let text = ready.text().await.expect("a body");
        if text.contains(wanted) { Ok(()) } else { Err(text) }
    })
    .await;
}

async fn is_ready(relay: &TestRelay) {
    eventually("/readyz says ready", async || {
        let ready = relay.http.get(format!("{}/readyz", relay.admin_url)).send().await.expect("readyz");
        let text = ready.text().await.expect("a body");
        if text.contains("\"status\":\"ready\"") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Says one event as this service, and waits until it is delivered at these routes.
async fn is_heard(setup: &Setup, relay: &TestRelay, component: &Component, from: &str, n: usize, at: &[&str]) {
    crate::say_as(from, relay, &[event(setup, &format!("{from}-{n}"), n)]).await;
    arrives(component, n, at).await;
}

async fn arrives(component: &Component, n: usize, at: &[&str]) {
    for route in at {
        eventually(&format!("{n} is delivered at {route}"), async || {
            let heard = |call: &crate::support::Call| call.path == *route && call.json()["n"] == n;
            if component.calls().iter().any(heard) { Ok(()) } else { Err(component.calls().len()) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_consumer_without_its_right_is_told_stays_alone_and_goes_on() {
    for resource in [Resource::Topic, Resource::Group] {
        let component = Component::start().await;
        let setup = three(&component).await;
        let (user, topic) = (setup.kafka_user("beta"), setup.topic(TOPIC));
        without(&setup, |acl| {
            acl.user == user && acl.resource == resource && (resource == Resource::Group || acl.name == topic)
        })
        .await;
        let relay = setup.start().await;
        is_heard(&setup, &relay, &component, "alpha", 1, &["/gamma"]).await;
        says(&relay, "beta.consumer.rights").await;
        assert!(component.calls().iter().all(|call| call.path != "/beta"), "{resource:?}");
        setup.allow_all().await;
        arrives(&component, 1, &["/beta"]).await;
        is_ready(&relay).await;
        assert!(relay.stop().await);
    }
}

#[tokio::test]
async fn a_publisher_without_its_right_is_told_stays_alone_and_goes_on() {
    for (kind, name, told) in [
        (Resource::TransactionalId, "", "alpha.outbox.rights"),
        (Resource::Topic, ".outbox", "alpha.outbox.rights"),
        (Resource::Topic, TOPIC, "authoriz"),
    ] {
        let component = Component::start().await;
        let setup = three(&component).await;
        let user = setup.kafka_user("alpha");
        without(&setup, |acl| acl.user == user && acl.resource == kind && acl.name.ends_with(name)).await;
        let relay = setup.start().await;
        crate::say_as("alpha", &relay, &[event(&setup, "key-1", 1)]).await;
        is_heard(&setup, &relay, &component, "delta", 2, &["/beta", "/gamma"]).await;
        says(&relay, told).await;
        setup.allow_all().await;
        arrives(&component, 1, &["/beta", "/gamma"]).await;
        is_ready(&relay).await;
        assert!(relay.stop().await);
    }
}

/// It may see the topic, so all seems well until it writes. Events of another topic stand in the same batch.
#[tokio::test]
async fn a_topic_that_may_not_be_written_holds_back_its_own_keys() {
    const OTHERS: &str = "others";
    let component = Component::start().await;
    let hears =
        |topic: &str| format!("[[services.gamma.subscriptions]]\ntopic = \"TOPIC({topic})\"\nroute = \"/{topic}\"\n");
    let alpha = ServiceSetup::new("alpha").database().publishes(TOPIC).publishes(OTHERS);
    let gamma = ServiceSetup::new("gamma").component(&component.url).toml(&(hears(TOPIC) + &hears(OTHERS)));
    let setup = Setup::new().service(alpha).service(gamma).declare(TOPIC).declare(OTHERS).databases().await;
    let (user, topic) = (setup.kafka_user("alpha"), setup.topic(TOPIC));
    let sees = |acl: Acl| match acl.user == user && acl.name == topic && acl.operation == "Write" {
        true => Acl { operation: "Describe".into(), ..acl },
        false => acl,
    };
    let left: BTreeSet<Acl> = setup.acls().into_iter().map(sees).collect();
    let users: Vec<String> = ["relay-itself", "alpha", "gamma"].map(|service| setup.kafka_user(service)).into();
    setup.kafka_admin().await.allow_exactly(&users, &left).await.expect("the right is taken");

    let relay = setup.start().await;
    let said = |topic: &str, n: usize| crate::held::event(&setup, topic, &format!("{topic}-{n}"), n, 10);
    crate::say_as("alpha", &relay, &[said(TOPIC, 1), said(OTHERS, 2)]).await;
    arrives(&component, 2, &["/others"]).await;
    crate::held::held(&setup, "alpha", 1, 1).await;
    for n in 3..8 {
        crate::say_as("alpha", &relay, &[said(OTHERS, n)]).await;
        arrives(&component, n, &["/others"]).await;
    }
    says(&relay, "held_keys").await;
    assert!(component.calls().iter().all(|call| call.path == "/others"));
    setup.allow_all().await;
    arrives(&component, 1, &["/things"]).await;
    is_ready(&relay).await;
    assert!(relay.stop().await);
}

#[tokio::test]
async fn a_topic_that_may_not_be_made_is_told_and_made_once_it_may() {
    let component = Component::start().await;
    let setup = three(&component).await;
    let letters = format!("{}.beta.dlq", setup.topic(TOPIC));
    without(&setup, |acl| acl.operation == "Create" && acl.name == letters).await;
    let relay = setup.start().await;
    is_heard(&setup, &relay, &component, "alpha", 1, &["/gamma"]).await;
    says(&relay, &format!("topic.{letters}")).await;
    setup.allow_all().await;
    arrives(&component, 1, &["/beta"]).await;
    is_ready(&relay).await;
    assert!(relay.stop().await);
}

#[tokio::test]
async fn a_service_whose_password_was_changed_is_told_stays_alone_and_goes_on() {
    let component = Component::start().await;
    let setup = three(&component).await;
    let (alpha, beta) = (setup.kafka_user("alpha"), setup.kafka_user("beta"));
    let set = async |password: &str| {
        let logins = [Login::new(&alpha, password), Login::new(&beta, password)];
        setup.kafka_admin().await.set_passwords(&logins).await.expect("the passwords are set");
    };
    set("another").await;
    let relay = setup.start().await;
    crate::say_as("alpha", &relay, &[event(&setup, "key-1", 1)]).await;
    is_heard(&setup, &relay, &component, "delta", 2, &["/gamma"]).await;
    says(&relay, "alpha.outbox.rights").await;
    says(&relay, "beta.consumer.rights").await;
    set("test").await;
    arrives(&component, 1, &["/beta", "/gamma"]).await;
    arrives(&component, 2, &["/beta"]).await;
    is_ready(&relay).await;
    assert!(relay.stop().await);
}
