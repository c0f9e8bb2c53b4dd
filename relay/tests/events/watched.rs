//! What writes and counts dead letters, and what hears wake-ups, is watched from outside too.

use http::StatusCode;
use towpath_fault_proxy::{Fate, Kafka, KafkaRequest, PRODUCE, Proxy, Tcp};

use crate::kafka_away::before;
use crate::subscriber::Subscriber;
use crate::support::{Servers, ServiceSetup, Setup, TestRelay, eventually};
use crate::watchdog::{moves, noticed, noticed_of_all};
use crate::{TOPIC, event, say_as};

const FETCH: i16 = 1;

/// A setup behind a proxy, whose service of this name publishes and hears, and whose component refuses everything.
async fn refusing_behind(proxy: &Proxy<Kafka>, subscriber: &Subscriber, name: &str) -> Setup {
    crate::show_logs();
    subscriber.answer_status(StatusCode::UNPROCESSABLE_ENTITY);
    let subscription = format!("[[services.{name}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
    let service = ServiceSetup::new(name).database().publishes(TOPIC).component(&subscriber.url).toml(&subscription);
    let setup = Setup::new().kafka(&proxy.address()).service(service).declare(TOPIC);
    setup.databases().await
}

/// Waits until `/readyz` counts so many open letters.
async fn counted(relay: &TestRelay, service: &str, count: u64) {
    eventually("the letters are counted", async || {
        let readiness = relay.readiness().await;
        if readiness["dead_letters"][service] == count { Ok(()) } else { Err(readiness) }
    })
    .await;
}

/// Waits until no part that serves all services stands still.
async fn all_move(relay: &TestRelay, part: &str) {
    eventually("it moves again", async || {
        let readiness = relay.readiness().await;
        if readiness["standing"][part].is_null() { Ok(()) } else { Err(readiness) }
    })
    .await;
}

/// Kafka hears nothing of this client any more, and answers all others.
fn ignore(proxy: &Proxy<Kafka>, client: String, which: fn(&KafkaRequest) -> bool) {
    proxy.rule(
        move |request: &KafkaRequest| {
            if request.client == client && which(request) { Fate::Ignored } else { Fate::Pass }
        },
    );
}

#[tokio::test]
async fn what_counts_dead_letters_is_replaced_where_it_reads_none() {
    const NAME: &str = "counted";
    let proxy = before(&Servers::from_env().kafka).await;
    let subscriber = Subscriber::start().await;
    let setup = refusing_behind(&proxy, &subscriber, NAME).await;
    let relay = setup.start().await;
    say_as(NAME, &relay, &[event(&setup, "k", 0)]).await;
    counted(&relay, NAME, 1).await;
    ignore(&proxy, format!("{}-dlq", setup.id), |request| request.api_key == FETCH);
    // A fetch before that is answered, whatever comes until then.
    proxy.until_struck(1).await;
    say_as(NAME, &relay, &[event(&setup, "k", 1)]).await;
    let told = noticed_of_all(&relay, "dead letters").await;
    assert!(told["cause"].as_str().unwrap().contains("not counted"), "{told}");
    proxy.pass();
    counted(&relay, NAME, 2).await;
    all_move(&relay, "dead letters").await;
}

#[tokio::test]
async fn what_writes_dead_letters_is_replaced_where_nothing_is_heard_of_one() {
    const NAME: &str = "lettered";
    let proxy = before(&Servers::from_env().kafka).await;
    let subscriber = Subscriber::start().await;
    let setup = refusing_behind(&proxy, &subscriber, NAME).await;
    let relay = setup.start().await;
    say_as(NAME, &relay, &[event(&setup, "k", 0)]).await;
    counted(&relay, NAME, 1).await;
    ignore(&proxy, format!("{}-dead-letters", setup.id), |request| request.api_key == PRODUCE);
    say_as(NAME, &relay, &[event(&setup, "k", 1)]).await;
    let told = noticed(&relay, NAME, "letters", "letters").await;
    assert!(told["cause"].as_str().unwrap().contains("nothing is heard of it"), "{told}");
    proxy.pass();
    counted(&relay, NAME, 2).await;
    moves(&relay, NAME).await;
}

/// The subscription is never answered: the relay makes another one again and again, and would say nothing.
#[tokio::test]
async fn a_relay_that_hears_no_wake_ups_says_so() {
    let servers = Servers::from_env();
    let redis = reqwest::Url::parse(&servers.redis).expect("a URL");
    let redis = redis.socket_addrs(|| Some(6379)).expect("an address")[0];
    let proxy = Proxy::<Tcp>::before(&redis.to_string()).await.expect("a port");
    let setup = Setup::new().redis(&proxy.instead_of(&servers.redis)).service(ServiceSetup::new("deaf"));
    proxy.rule(|sent| if sent.windows(9).any(|word| word == b"SUBSCRIBE") { Fate::Ignored } else { Fate::Pass });
    let relay = setup.start().await;
    let told = noticed_of_all(&relay, "wake-ups in").await;
    assert!(told["cause"].as_str().unwrap().contains("doesn't hear"), "{told}");
    proxy.pass();
    all_move(&relay, "wake-ups in").await;
}
