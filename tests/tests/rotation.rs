//! The tokens between relay and components are replaced under load, and nobody notices. The stack is this binary's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use towpath_client::{ApiError, Client, NewOrder, Order};
use towpath_tests::{OwnStack, Shop, eventually};

/// How many clients place orders, one after another.
const CLIENTS: usize = 8;
/// From the last restart until everything has come to its end.
const RECOVERY: Duration = Duration::from_secs(120);

/// Places an order as a client behind a load balancer does: a replica that takes no connection, or closes it, is left for the
/// other one. Whatever a replica answers counts.
async fn place(replicas: &[Client], order: &NewOrder, turn: usize) -> towpath_client::Answer {
    let key = Shop::fresh_key();
    let turns = std::sync::atomic::AtomicUsize::new(turn);
    eventually("a replica answers", RECOVERY, || async {
        let api = &replicas[turns.fetch_add(1, Ordering::Relaxed) % replicas.len()];
        match api.place(order, &key, 0).await {
            Ok(answer) => Ok(answer),
            Err(gone @ ApiError::NoAnswer { .. }) => Err(format!("{gone:?}")),
            Err(other) => panic!("{other:?}"),
        }
    })
    .await
}

#[tokio::test]
async fn tokens_are_replaced_under_load_without_an_error() {
    let own = OwnStack::start_with(&["--replicas", "2"], &[]);
    let shop = Shop::open_in(&own.stack);
    let sku = shop.sku(100_000).await;
    let tokens = |own: &OwnStack| {
        let running = own.stack.running();
        ["gateway", "product", "order", "payment", "inventory"].map(|service| running.service_token(service))
    };
    let before = tokens(&own);
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
        let rotating = own.towpath_meanwhile(&["rotate-tokens"]);
        let rotated = tokio::task::spawn_blocking(move || rotating.join());
        let rotated = rotated.await.expect("the thread ends");
        over.store(true, Ordering::Relaxed);
        rotated.expect("the rotation succeeds");
    };
    let (placed, ()) = tokio::join!(join_all((0..CLIENTS).map(client)), rotation);
    let after = tokens(&own);
    assert!(before.iter().zip(&after).all(|(old, new)| old != new), "every token is another one");
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
