//! One key, one order.

use std::collections::BTreeSet;

use futures::future::join_all;
use towpath_client::{Order, Page};
use towpath_tests::{Shop, assert_refused};

/// How many orders the shop's customer has, as the API tells.
async fn orders_of(shop: &Shop) -> usize {
    let path = format!("/v1/orders?customer_id={}", shop.customer);
    let page: Page<Order> = shop.api.get(&path).send().await.and_then(|answer| answer.read()).expect("the orders");
    page.data.len()
}

#[tokio::test]
async fn the_same_key_twice_gives_the_first_answer_again() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let (order, key) = (shop.order_for(&sku, 1), Shop::fresh_key());

    let first = shop.place_as(&order, &key).await.expect(202).expect("202");
    assert_eq!(first.header("idempotent-replayed"), None);
    let id = first.read::<Order>().expect("the order").id;
    shop.settled(id).await;

    let second = shop.place_as(&order, &key).await.expect(202).expect("the first answer's status");
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    assert_eq!(second.header("location"), first.header("location"));
    assert_eq!(second.json(), first.json(), "the first answer, though the order went on since");
    assert_eq!(orders_of(&shop).await, 1);
    shop.stock_becomes(&sku, 9, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn the_same_key_with_another_order_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let key = Shop::fresh_key();
    let first: Order = shop.place_as(&shop.order_for(&sku, 1), &key).await.read().expect("the order");
    let other = shop.place_as(&shop.order_for(&sku, 2), &key).await;
    let _ = assert_refused(&other, 422, "idempotency_key_reused");
    shop.settled(first.id).await;
    assert_eq!(orders_of(&shop).await, 1);
    shop.stock_becomes(&sku, 9, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one_order() {
    let shop = Shop::open();
    let sku = shop.sku(100).await;
    let (order, key) = (shop.order_for(&sku, 1), Shop::fresh_key());
    let answers = join_all((0..20).map(|_| shop.place_as(&order, &key))).await;

    let mut ids = BTreeSet::new();
    for answer in &answers {
        if answer.is_success() {
            ids.insert(answer.read::<Order>().expect("the order").id);
        } else {
            let _ = assert_refused(answer, 409, "idempotency_key_in_flight");
        }
    }
    assert_eq!(ids.len(), 1, "one order for one key");
    let first_hand = answers.iter().filter(|a| a.is_success() && a.header("idempotent-replayed").is_none()).count();
    assert_eq!(first_hand, 1, "one request placed it, the others were told");
    assert_eq!(orders_of(&shop).await, 1);
    shop.settled(*ids.first().expect("one")).await;
    shop.stock_becomes(&sku, 99, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_without_a_key_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let answer = shop.api.post("/v1/orders").json(&shop.order_for(&sku, 1)).send().await.expect("an answer");
    let _ = assert_refused(&answer, 400, "idempotency_key_missing");
    assert_eq!(orders_of(&shop).await, 0);
    shop.close().await;
}

#[tokio::test]
async fn a_refused_order_does_not_use_up_its_key() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let key = Shop::fresh_key();
    let refused = shop.place_as(&shop.order_for(&Shop::fresh_sku(), 1), &key).await;
    let _ = assert_refused(&refused, 422, "unknown_sku");
    let mended = shop.place_as(&shop.order_for(&sku, 1), &key).await.expect(202).expect("nothing was done under it");
    assert_eq!(mended.header("idempotent-replayed"), None);
    shop.close().await;
}
