//! Stock.

use futures::future::join_all;
use serde_json::json;
use towpath_client::{Money, NewProduct};
use towpath_tests::{Shop, assert_refused};

#[tokio::test]
async fn stock_can_be_adjusted_as_soon_as_the_product_is_created() {
    let shop = Shop::open();
    for _ in 0..10 {
        let sku = shop.product().await.sku;
        shop.put_in_stock(&sku, 3).await;
        let stock = shop.api.stock(&sku).await.expect("its stock");
        assert_eq!((stock.on_hand, stock.reserved, stock.available), (3, 0, 3));
    }
    shop.close().await;
}

#[tokio::test]
async fn nobody_takes_out_more_than_there_is() {
    let shop = Shop::open();
    let sku = shop.sku(50).await;
    let key = Shop::fresh_key();
    let answer = shop.api.adjust_stock(&sku, -51, "breakage", &key).await.expect("an answer");
    let _ = assert_refused(&answer, 409, "insufficient_stock");

    let answers = join_all((0..100).map(|_| shop.adjust(&sku, -1, "breakage"))).await;
    let taken = answers.iter().filter(|answer| answer.status() == 201).count();
    assert_eq!(taken, 50);
    for answer in answers.iter().filter(|answer| answer.status() != 201) {
        let _ = assert_refused(answer, 409, "insufficient_stock");
    }
    shop.stock_becomes(&sku, 0, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn one_key_adjusts_once() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let key = Shop::fresh_key();
    let first = shop.api.adjust_stock(&sku, 5, "delivery", &key).await.and_then(|a| a.expect(201)).expect("201");
    let again = shop.api.adjust_stock(&sku, 5, "delivery", &key).await.and_then(|a| a.expect(201)).expect("201");
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(again.json(), first.json());
    let other = shop.api.adjust_stock(&sku, 6, "delivery", &key).await.expect("an answer");
    let _ = assert_refused(&other, 422, "idempotency_key_reused");
    shop.stock_becomes(&sku, 15, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn the_same_key_adjusts_two_skus_or_is_refused_but_never_lost() {
    let shop = Shop::open();
    let (a, b) = (shop.sku(1).await, shop.sku(1).await);
    let key = Shop::fresh_key();
    let first = shop.api.adjust_stock(&a, 5, "delivery", &key).await.expect("an answer");
    first.expect(201).expect("201");
    let second = shop.api.adjust_stock(&b, 5, "delivery", &key).await.expect("an answer");
    // Never the first answer: it would say that `b` was adjusted.
    if second.status() != 201 {
        let _ = assert_refused(&second, 422, "idempotency_key_reused");
    }
    let on_hand = if second.status() == 201 { 6 } else { 1 };
    shop.stock_becomes(&b, on_hand, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn an_adjustment_without_a_key_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let call = shop.api.post(&format!("/v1/inventory/{sku}/adjustments"));
    let answer = call.json(&json!({ "delta": 1, "reason": "delivery" })).send().await.expect("an answer");
    let _ = assert_refused(&answer, 400, "idempotency_key_missing");
    shop.stock_becomes(&sku, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn a_sku_that_nobody_knows_has_no_stock() {
    let shop = Shop::open();
    let sku = Shop::fresh_sku();
    let look = shop.api.get(&format!("/v1/inventory/{sku}")).send().await.expect("an answer");
    let _ = assert_refused(&look, 404, "unknown_sku");
    let adjust = shop.api.adjust_stock(&sku, 1, "delivery", &Shop::fresh_key()).await.expect("an answer");
    let _ = assert_refused(&adjust, 404, "unknown_sku");
    shop.close().await;
}

#[tokio::test]
async fn a_sku_of_every_letter_that_it_may_have_goes_through_paths_unharmed() {
    let shop = Shop::open();
    let sku = format!("{}/10.5:X_a-b", Shop::fresh_sku());
    let (name, price) = (String::from("A rope"), Money::eur(100));
    let product = NewProduct { sku: sku.clone(), name, description: None, price };
    shop.api.create_product(&product).await.expect("the product is created");
    let encoded: String = sku.bytes().map(|byte| format!("%{byte:02X}")).collect();
    shop.put_in_stock(&encoded, 4).await;
    assert_eq!(shop.api.stock(&encoded).await.expect("its stock").sku, sku);
    let order = shop.place_and_wait(&shop.order_for(&sku, 3)).await;
    assert_eq!(order.status, "confirmed");
    shop.close().await;
}
