//! What an order costs, and what its customer saw that it costs.

use reqwest::Method;
use serde_json::{Value, json};
use towpath_client::{Answer, Money, Order};
use towpath_tests::{DEADLINE, Shop, assert_refused, assert_wrong_fields, eventually};

async fn place(shop: &Shop, sku: &str, expected: Value, key: &str) -> Answer {
    let order = json!({"customer_id": shop.customer, "payment_method": "pm_card_visa",
        "lines": [{"sku": sku, "quantity": 2}], "expected_total": expected});
    let answer = shop.api.post("/v1/orders").header("idempotency-key", key).json(&order).send().await;
    let answer = answer.expect("an answer");
    shop.remember(&answer);
    answer
}

async fn change(shop: &Shop, id: uuid::Uuid, patch: Value) {
    let call = shop.api.call(Method::PATCH, &format!("/v1/products/{id}")).header("if-match", "*");
    call.json(&patch).send().await.and_then(|answer| answer.expect(200)).expect("changed");
}

#[tokio::test]
async fn an_order_that_says_what_it_saw_costs_that_or_is_told_the_new_total() {
    let shop = Shop::open();
    let product = shop.product_at(Money::eur(1250)).await;
    let sku = &product.sku;
    shop.put_in_stock(sku, 20).await;
    let eur = |amount: i64| json!({"amount": amount, "currency": "EUR"});
    let first_key = Shop::fresh_key();
    let first = place(&shop, sku, eur(2500), &first_key).await.expect(202).expect("what was seen");
    assert_eq!(first.read::<Order>().expect("the order").total, Money::eur(2500));
    place(&shop, sku, json!(2500), &Shop::fresh_key()).await.expect(202).expect("in the order's currency");
    for other in [json!(2499), eur(2501), json!({"amount": 2500, "currency": "USD"})] {
        let answer = place(&shop, sku, other.clone(), &Shop::fresh_key()).await;
        let problem = assert_refused(&answer, 409, "price_changed");
        assert_wrong_fields(&problem, &[("expected_total", "price_changed")]);
        assert_eq!((&answer.json()["total"], answer.header("retry-after")), (&eur(2500), None), "{other}");
    }

    change(&shop, product.id, json!({"price": eur(1300)})).await;
    let key = Shop::fresh_key();
    // Until order hears of the new price, it sells at the old one.
    eventually("order hears of the new price", DEADLINE, || async {
        let answer = place(&shop, sku, json!(2600), &Shop::fresh_key()).await;
        if answer.status() == 202 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let refused = place(&shop, sku, json!(2500), &key).await;
    let _ = assert_refused(&refused, 409, "price_changed");
    assert_eq!(refused.json()["total"], eur(2600));
    // Nothing was done under the key; who repeats an order that was taken gets that one, whatever it costs by now.
    place(&shop, sku, refused.json()["total"].clone(), &key).await.expect(202).expect("the new total");
    let again = place(&shop, sku, eur(2500), &first_key).await;
    assert_eq!((again.status(), again.text()), (first.status(), first.text()));
    shop.close().await;
}

#[tokio::test]
async fn a_deactivated_product_sells_no_more_once_order_has_heard_of_it() {
    let shop = Shop::open();
    let product = shop.product_at(Money::eur(1250)).await;
    let sku = &product.sku;
    shop.put_in_stock(sku, 1000).await;
    place(&shop, sku, json!(2500), &Shop::fresh_key()).await.expect(202).expect("it is on sale");
    change(&shop, product.id, json!({"active": false})).await;
    eventually("order hears of it", DEADLINE, || async {
        let answer = place(&shop, sku, json!(2500), &Shop::fresh_key()).await;
        if answer.status() == 422 { Ok(answer) } else { Err(answer.text()) }
    })
    .await;
    let refused = place(&shop, sku, json!(2500), &Shop::fresh_key()).await;
    let _ = assert_refused(&refused, 422, "product_inactive");
    shop.close().await;
}

#[tokio::test]
async fn an_expectation_that_is_none_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    for (wrong, field, code) in [
        (json!("2500"), "expected_total", "wrong_type"),
        (json!(-1), "expected_total", "too_small"),
        (json!(1e300), "expected_total", "wrong_type"),
        (json!({"amount": 2500}), "expected_total.currency", "required"),
        (json!({"amount": 2500, "currency": "XXX"}), "expected_total.currency", "unknown_currency"),
    ] {
        let answer = place(&shop, &sku, wrong, &Shop::fresh_key()).await;
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), &[(field, code)]);
    }
    shop.close().await;
}
