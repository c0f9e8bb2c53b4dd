//! Payments that wait for their customer: 3-D Secure, and another payment method after a decline.

use towpath_client::{Answer, NewOrder, Order};
use towpath_tests::{DEADLINE, Shop, assert_refused, eventually};

const ASKS: &str = "pm_card_authenticationRequired";

/// Places an order under this key, and waits until it is decided or waits for its customer.
async fn place(shop: &Shop, order: &NewOrder, key: &str) -> Order {
    let answer = eventually("the edge has time", DEADLINE, || async {
        let answer = shop.api.place(order, key, 30).await.expect("an answer");
        if answer.status() == 503 { Err(answer.text()) } else { Ok(answer) }
    })
    .await;
    shop.remember(&answer);
    answer.read().expect("the order")
}

/// An order that waits for its customer, with the key that it was placed with and its client secret.
async fn waiting(shop: &Shop, payment_method: &str) -> (Order, String, String) {
    let sku = shop.sku(1).await;
    let key = Shop::fresh_key();
    let order = place(shop, &shop.order_for(&sku, 1).by(payment_method), &key).await;
    assert_eq!((order.status.as_str(), order.payment_state.as_deref()), ("reserved", Some("requires_action")));
    let secret = order.client_secret.clone().expect("whoever placed the order gets the secret");
    (order, key, secret)
}

async fn status_of_payment(shop: &Shop, order: &Order) -> String {
    shop.api.payments_of(order.id).await.expect("its payments").pop().expect("a payment").status
}

fn read(answer: &Answer, status: u16) -> Order {
    answer.clone().expect(status).and_then(|answer| answer.read()).expect("the order")
}

#[tokio::test]
async fn an_order_whose_customer_authenticates_is_confirmed() {
    let shop = Shop::open();
    let (order, _, secret) = waiting(&shop, ASKS).await;
    assert_eq!(status_of_payment(&shop, &order).await, "requires_action");
    shop.api.authenticate(&secret, true).await.and_then(|answer| answer.expect(200)).expect("it authenticates");
    let confirmed = shop.settled(order.id).await;
    assert_eq!((confirmed.status.as_str(), confirmed.payment_state), ("confirmed", None));
    let again = shop.api.authenticate(&secret, true).await.expect("an answer");
    let _ = assert_refused(&again, 409, "no_challenge");
    shop.close().await;
}

#[tokio::test]
async fn the_client_secret_is_for_whose_order_it_is() {
    let shop = Shop::open();
    let (order, key, secret) = waiting(&shop, ASKS).await;
    let path = format!("/v1/orders/{}", order.id);
    let secret_of = async |key: Option<&str>| {
        let call = shop.api.get(&path);
        let call = match key {
            Some(key) => call.header("order-key", key),
            None => call,
        };
        let order: Order = call.send().await.and_then(|answer| answer.read()).expect("the order");
        assert_eq!(order.payment_state.as_deref(), Some("requires_action"), "that it waits, everybody may know");
        order.client_secret
    };
    assert_eq!(secret_of(Some(&key)).await.as_deref(), Some(secret.as_str()));
    for other in [None, Some("another"), Some(order.customer_id.as_str())] {
        assert_eq!(secret_of(other).await, None, "{other:?}");
    }
    // Nothing else shows it: not the payment, nor the history.
    for path in [format!("/v1/payments?order_id={}", order.id), format!("{path}/history")] {
        let answer = shop.api.get(&path).send().await.expect("an answer");
        assert!(!answer.text().contains(&secret), "{path}");
    }
    let peer = format!("/_peer/payment/orders/{}/client-secret", order.id);
    let _ = assert_refused(&shop.api.get(&peer).send().await.expect("an answer"), 404, "not_found");
    for wrong in ["x", "sandbox_pi_1_secret_2", &secret[..secret.len() - 1]] {
        let _ =
            assert_refused(&shop.api.authenticate(wrong, true).await.expect("an answer"), 404, "unknown_client_secret");
    }
    shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    shop.close().await;
}

#[tokio::test]
async fn a_customer_who_fails_to_authenticate_is_declined() {
    let shop = Shop::open();
    let (order, _, secret) = waiting(&shop, ASKS).await;
    shop.api.authenticate(&secret, false).await.and_then(|answer| answer.expect(200)).expect("it fails");
    let rejected = shop.settled(order.id).await;
    assert_eq!((rejected.status.as_str(), rejected.reason.as_deref()), ("rejected", Some("authentication_required")));
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_while_it_waits_costs_nothing() {
    let shop = Shop::open();
    let (order, _, secret) = waiting(&shop, ASKS).await;
    shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    eventually("the payment is cancelled", DEADLINE, || async {
        let status = status_of_payment(&shop, &order).await;
        if status == "cancelled" { Ok(()) } else { Err(status) }
    })
    .await;
    let late = shop.api.authenticate(&secret, true).await.expect("an answer");
    let _ = assert_refused(&late, 409, "no_challenge");
    shop.close().await;
}

#[tokio::test]
async fn a_customer_takes_another_payment_method_while_the_order_waits() {
    let shop = Shop::open();
    let (order, placed_with, secret) = waiting(&shop, ASKS).await;
    let key = Shop::fresh_key();
    let pay = |method: Option<&'static str>, key: String| {
        let (api, placed_with) = (&shop.api, &placed_with);
        async move { api.pay(order.id, method, &key, placed_with, 30).await.expect("an answer") }
    };
    let paid = read(&pay(Some("pm_card_visa"), key.clone()).await, 201);
    assert_eq!((paid.status.as_str(), paid.client_secret), ("confirmed", None));
    // The same key again: the same request, once.
    let again = pay(Some("pm_card_visa"), key.clone()).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let _ = assert_refused(&pay(Some("pm_card_amex"), key).await, 422, "idempotency_key_reused");
    let _ = assert_refused(&pay(None, Shop::fresh_key()).await, 409, "not_payable");
    let late = shop.api.authenticate(&secret, true).await.expect("an answer");
    let _ = assert_refused(&late, 409, "no_challenge");
    assert_eq!(shop.api.payments_of(order.id).await.expect("its payments").len(), 1);
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_waits_after_a_decline_takes_another_payment_method() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let placed_with = Shop::fresh_key();
    let wanted = shop.order_for(&sku, 1).by("pm_card_chargeDeclinedInsufficientFunds").waiting();
    let order = place(&shop, &wanted, &placed_with).await;
    assert_eq!((order.status.as_str(), order.payment_state.as_deref()), ("reserved", Some("requires_payment_method")));
    assert_eq!(status_of_payment(&shop, &order).await, "declined");
    let pay = async |method: &str| {
        shop.api.pay(order.id, Some(method), &Shop::fresh_key(), &placed_with, 30).await.expect("an answer")
    };
    let declined = read(&pay("pm_card_chargeDeclinedExpiredCard").await, 202);
    assert_eq!(declined.payment_state.as_deref(), Some("requires_payment_method"));
    let asks = read(&pay(ASKS).await, 202);
    assert_eq!(asks.payment_state.as_deref(), Some("requires_action"));
    let secret = asks.client_secret.expect("the secret");
    shop.api.authenticate(&secret, true).await.and_then(|answer| answer.expect(200)).expect("it authenticates");
    assert_eq!(shop.settled(order.id).await.status, "confirmed");
    shop.stock_becomes(&sku, 0, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn what_a_bank_works_on_is_confirmed_once_it_has_paid() {
    let shop = Shop::open();
    let sku = shop.sku(2).await;
    let paid = shop.place(&shop.order_for(&sku, 1).by("pm_sandbox_processing")).await;
    let failed = shop.place(&shop.order_for(&sku, 1).by("pm_sandbox_processingFail")).await;
    assert_eq!(shop.settled(paid.id).await.status, "confirmed");
    assert_eq!(shop.settled(failed.id).await.status, "rejected");
    shop.close().await;
}

#[tokio::test]
async fn only_a_payment_that_waits_for_its_customer_can_be_gone_on_with() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let pay = async |id: uuid::Uuid, body: &str, key: Option<&str>| {
        let call = shop.api.post(&format!("/v1/orders/{id}/payment")).body("application/json", body);
        let call = match key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        call.send().await.expect("an answer")
    };
    let _ = assert_refused(&pay(order.id, "{}", Some("k")).await, 409, "not_payable");
    let _ = assert_refused(&pay(order.id, "{}", None).await, 400, "idempotency_key_missing");
    let _ = assert_refused(&pay(order.id, r#"{"payment_method": 7}"#, Some("k")).await, 422, "validation_failed");
    let _ = assert_refused(&pay(uuid::Uuid::now_v7(), "{}", Some("k")).await, 404, "unknown_order");
    shop.close().await;
}
