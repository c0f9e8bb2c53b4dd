//! The tokens between relay and components, and the passwords that relays show to Kafka, are replaced under load, and nobody
//! notices. The stack is this binary's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use towpath_client::{ApiError, Client, NewOrder, Order};
use towpath_kafka_admin::{Connection, Login};
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_tests::{OwnStack, Shop, eventually};

/// How many clients place orders, one after another.
const CLIENTS: usize = 8;
/// From the last restart until everything has come to its end.
const RECOVERY: Duration = Duration::from_secs(120);

/// Places an order as a client behind a load balancer does: a replica that takes no connection, or closes it, is left for the
/// other one, and what was refused with 503 is sent again under the same key. Any other answer counts.
async fn place(replicas: &[Client], order: &NewOrder, turn: usize) -> towpath_client::Answer {
    let key = Shop::fresh_key();
    let turns = std::sync::atomic::AtomicUsize::new(turn);
    eventually("a replica answers", RECOVERY, || async {
        let api = &replicas[turns.fetch_add(1, Ordering::Relaxed) % replicas.len()];
        match api.place(order, &key, 0).await {
            Ok(answer) if answer.status() == 503 => Err(answer.text()),
            Ok(answer) => Ok(answer),
            Err(gone @ ApiError::NoAnswer { .. }) => Err(format!("{gone:?}")),
            Err(other) => panic!("{other:?}"),
        }
    })
    .await
}

/// What the hosts' logs have about answers of 503, but where time ran out: a machine with too much to do is no fault of a
/// rotation. A call that was refused, or cut off, is.
fn refused(own: &OwnStack) -> Vec<String> {
    let logs = ["host", "host-2"].map(|host| {
        let log = own.stack.home.join("logs").join(format!("{host}.log"));
        std::fs::read_to_string(&log).unwrap_or_else(|cause| panic!("{}: {cause}", log.display()))
    });
    let ran_out = |line: &str| ["by the caller's clock", "no time is left"].iter().any(|why| line.contains(why));
    let lines = logs.iter().flat_map(|log| log.lines());
    lines.filter(|line| line.contains("\"status\":503") && !ran_out(line)).map(str::to_owned).collect()
}

/// What relays log in to Kafka with.
fn passwords(own: &OwnStack) -> Vec<Login> {
    let secrets = Secrets::load(&Home::resolve(Some(&own.stack.home)).expect("a home")).expect("its secrets");
    let services = Services::load().expect("relay.toml");
    let own = services.kafka_users().map(|(service, user)| Login::new(user, secrets.kafka(service)));
    let relay = services.kafka_user().map(|user| Login::new(user, secrets.kafka_relay()));
    own.chain(relay).collect()
}

#[tokio::test]
async fn tokens_and_passwords_are_replaced_under_load_without_an_error() {
    let own = OwnStack::start_with(&["--replicas", "2"], &[]);
    let shop = Shop::open_in(&own.stack);
    let sku = shop.sku(100_000).await;
    let services = Services::load().expect("relay.toml and spin.toml");
    let tokens = |own: &OwnStack| -> Vec<String> {
        let running = own.stack.running();
        services.callers().map(|service| running.service_token(service)).collect()
    };
    let (before, passwords_before) = (tokens(&own), passwords(&own));
    let replicas: Vec<Client> =
        own.stack.running().urls.iter().map(|url| Client::new(url).expect("a client")).collect();
    assert_eq!(replicas.len(), 2);
    let over = AtomicBool::new(false);
    let client = |number: usize| {
        let (shop, sku, replicas, over) = (&shop, &sku, &replicas, &over);
        async move {
            let mut ids = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let answer = place(replicas, &shop.order_for(sku, 1), number + ids.len()).await;
                assert!(answer.is_success(), "answered {} in a rotation: {}", answer.status(), answer.text());
                shop.remember(&answer);
                ids.push(answer.read::<Order>().expect("the order").id);
            }
            ids
        }
    };
    let rotation = async {
        let mut outcomes = Vec::new();
        for command in ["rotate-tokens", "rotate-passwords"] {
            let rotating = own.towpath_meanwhile(&[command]);
            let rotated = tokio::task::spawn_blocking(move || rotating.join());
            outcomes.push((command, rotated.await.expect("the thread ends")));
        }
        over.store(true, Ordering::Relaxed);
        for (command, rotated) in outcomes {
            rotated.unwrap_or_else(|_| panic!("{command} succeeds"));
        }
    };
    let (placed, ()) = tokio::join!(join_all((0..CLIENTS).map(client)), rotation);
    let after = tokens(&own);
    assert!(!before.is_empty() && before.iter().zip(&after).all(|(old, new)| old != new), "every token is another one");
    let kafka = own.stack.running().kafka.address;
    let after = passwords(&own);
    assert!(passwords_before.len() > 1, "services, and the relay itself");
    for (old, new) in passwords_before.iter().zip(&after) {
        assert_ne!(old.password, new.password, "{}", old.user);
        Connection::open(&kafka, new).await.expect("the new password is known");
        Connection::open(&kafka, old).await.expect_err("the old one is not");
    }
    assert_eq!(refused(&own), Vec::<String>::new(), "no call was refused or cut off");
    let ids: Vec<_> = placed.into_iter().flatten().collect();
    assert!(ids.len() > CLIENTS, "there was load: {}", ids.len());
    for id in ids {
        eventually(&format!("order {id} ends"), RECOVERY, || async {
            match shop.api.order(id).await {
                Ok(order) if order.status == "confirmed" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    for admin in &own.stack.running().relay_admins {
        let said = eventually("the relay is ready", RECOVERY, || async {
            let answer = reqwest::get(format!("{admin}/readyz")).await.map_err(|cause| cause.to_string())?;
            let said: serde_json::Value = answer.json().await.map_err(|cause| cause.to_string())?;
            if said["status"] == "ready" { Ok(said) } else { Err(said.to_string()) }
        })
        .await;
        assert!(said["dead_letters"].is_null(), "no event became a dead letter: {said}");
    }
    shop.close_within(RECOVERY).await;
    own.towpath(&["audit", "--settle", "60"]);
}
