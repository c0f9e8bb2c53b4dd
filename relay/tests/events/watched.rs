//! What writes and counts dead letters, and what hears wake-ups, is watched from outside too.

use http::StatusCode;
use towpath_fault_proxy::{Fate, Kafka, KafkaRequest, PRODUCE, Proxy, Tcp};

use crate::kafka_away::before;
use crate::subscriber::Subscriber;
use crate::support::{Servers, ServiceSetup, Setup, TestRelay, eventually};
use crate::watchdog::{moves, noticed, noticed_of_all};
use crate::{TOPIC, event, say_as};

const FETCH: i16 = 1;

/// A relay behind a proxy, whose component refuses everything, and whose first dead letter is written and counted.
struct Refusing {
    // The relay ends first, then what it uses.
    relay: TestRelay,
    setup: Setup,
    _subscriber: Subscriber,
    proxy: Proxy<Kafka>,
    /// The service that publishes, and hears what it publishes.
    name: &'static str,
}

impl Refusing {
    async fn once(name: &'static str) -> Self {
        crate::show_logs();
        let proxy = before(&Servers::from_env().kafka).await;
        let subscriber = Subscriber::start().await;
        subscriber.answer_status(StatusCode::UNPROCESSABLE_ENTITY);
        let subscription = format!("[[services.{name}.subscriptions]]\ntopic = \"TOPIC(things)\"\nroute = \"/events\"");
        let service =
            ServiceSetup::new(name).database().publishes(TOPIC).component(&subscriber.url).toml(&subscription);
        let setup = Setup::new().kafka(&proxy.address()).service(service).declare(TOPIC).databases().await;
        let relay = setup.start().await;
        let refusing = Self { relay, setup, _subscriber: subscriber, proxy, name };
        refusing.say(0).await;
        refusing.counted(1).await;
        refusing
    }

    /// Publishes an event, which becomes a letter.
    async fn say(&self, n: usize) {
        say_as(self.name, &self.relay, &[event(&self.setup, "k", n)]).await;
    }

    /// Waits until `/readyz` counts so many open letters.
    async fn counted(&self, count: u64) {
        eventually("the letters are counted", async || {
            let readiness = self.relay.readiness().await;
            if readiness["dead_letters"][self.name] == count { Ok(()) } else { Err(readiness) }
        })
        .await;
    }

    /// Kafka hears nothing of this kind from the client of this role any more, and answers all others.
    fn ignore(&self, role: &str, api_key: i16) {
        let client = format!("{}-{role}", self.setup.id);
        self.proxy.rule(move |request: &KafkaRequest| {
            if request.client == client && request.api_key == api_key { Fate::Ignored } else { Fate::Pass }
        });
    }
}

/// Waits until no part that serves all services stands still.
async fn all_move(relay: &TestRelay, part: &str) {
    eventually("it moves again", async || {
        let readiness = relay.readiness().await;
        if readiness["standing"][part].is_null() { Ok(()) } else { Err(readiness) }
    })
    .await;
}

#[tokio::test]
async fn what_counts_dead_letters_is_replaced_where_it_reads_none() {
    let refusing = Refusing::once("counted").await;
    refusing.ignore("dlq", FETCH);
    // A fetch before that is answered, whatever comes until then.
    refusing.proxy.until_struck(1).await;
    refusing.say(1).await;
    let told = noticed_of_all(&refusing.relay, "dead letters").await;
    assert!(told["cause"].as_str().unwrap().contains("not counted"), "{told}");
    refusing.proxy.pass();
    refusing.counted(2).await;
    all_move(&refusing.relay, "dead letters").await;
}

#[tokio::test]
async fn what_writes_dead_letters_is_replaced_where_nothing_is_heard_of_one() {
    let refusing = Refusing::once("lettered").await;
    refusing.ignore("dead-letters", PRODUCE);
    refusing.say(1).await;
    let told = noticed(&refusing.relay, refusing.name, "letters", "letters").await;
    assert!(told["cause"].as_str().unwrap().contains("nothing is heard of it"), "{told}");
    refusing.proxy.pass();
    refusing.counted(2).await;
    moves(&refusing.relay, refusing.name).await;
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
