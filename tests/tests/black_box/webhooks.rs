//! What a payment provider says by itself, signed with the secret of the test stack.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use towpath_client::{Answer, Payment};
use towpath_payment::provider::webhook::{TOLERANCE_SECONDS, sign};
use towpath_tests::{Shop, assert_refused};
use uuid::Uuid;

const PATH: &str = "/v1/providers/stripe/webhooks";

fn secret() -> String {
    std::env::var("TOWPATH_TEST_WEBHOOK_SECRET").expect("TOWPATH_TEST_WEBHOOK_SECRET: `./towpath test` sets it")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

async fn send(shop: &Shop, body: &str, signature: &str) -> Answer {
    let call = shop.api.post(PATH).header("stripe-signature", signature).body("application/json; charset=utf-8", body);
    call.send().await.expect("an answer")
}

async fn send_signed(shop: &Shop, body: &Value) -> Answer {
    // As Stripe writes it: the signature is of these bytes, whatever they say as JSON.
    let body = serde_json::to_string_pretty(body).expect("JSON");
    send(shop, &body, &sign(body.as_bytes(), &secret(), now())).await
}

async fn payment_of(shop: &Shop, order: Uuid) -> Payment {
    let mut payments = shop.api.payments_of(order).await.expect("its payments");
    payments.pop().expect("a payment")
}

fn dispute(intent: &str, reference: &str, status: &str, created: i64) -> Value {
    json!({
        "id": format!("evt_{}", Uuid::new_v4().simple()), "object": "event", "type": "charge.dispute.updated",
        "created": created, "livemode": false,
        "data": {"object": {"id": reference, "object": "dispute", "payment_intent": intent, "status": status,
                            "reason": "fraudulent", "amount": 1250, "currency": "eur"}},
    })
}

#[tokio::test]
async fn a_webhook_counts_if_it_is_signed_and_once() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let intent = payment_of(&shop, order.id).await.provider_reference.expect("an intent");
    let reference = format!("dp_{}", Uuid::new_v4().simple());
    let status = async || {
        let cases = payment_of(&shop, order.id).await.cases;
        cases.iter().map(|case| (case.kind.clone(), case.status.clone())).collect::<Vec<_>>()
    };
    let told = |status: &str, created| dispute(&intent, &reference, status, created);

    let first = told("needs_response", 1_700_000_000);
    let body = first.to_string();
    let refused = [
        String::new(),
        "t=1,v1=00".into(),
        sign(body.as_bytes(), "another secret", now()),
        sign(format!("{body} ").as_bytes(), &secret(), now()),
        sign(body.as_bytes(), &secret(), now() - TOLERANCE_SECONDS - 60),
    ];
    for signature in refused {
        let _ = assert_refused(&send(&shop, &body, &signature).await, 400, "invalid_signature");
    }
    assert!(status().await.is_empty());

    send_signed(&shop, &first).await.expect(200).expect("taken");
    let open = vec![("dispute".to_owned(), "needs_response".to_owned())];
    assert_eq!(status().await, open);
    // The same id again, with other words: it was heard.
    let mut again = told("lost", 1_700_000_500);
    again["id"] = first["id"].clone();
    send_signed(&shop, &again).await.expect(200).expect("taken, and nothing changes");
    assert_eq!(status().await, open);
    // Out of order: the older word comes last.
    send_signed(&shop, &told("won", 1_700_000_300)).await.expect(200).expect("taken");
    send_signed(&shop, &told("under_review", 1_700_000_200)).await.expect(200).expect("taken");
    assert_eq!(status().await, [("dispute".to_owned(), "won".to_owned())]);
    assert_eq!(shop.api.order(order.id).await.expect("the order").status, "confirmed");
    shop.close().await;
}

#[tokio::test]
async fn a_webhook_that_nobody_has_a_use_for_is_taken_and_what_is_none_is_refused() {
    let shop = Shop::open();
    let unknown = json!({"id": format!("evt_{}", Uuid::new_v4()), "type": "customer.created", "created": 1, "data": {"object": {}}});
    send_signed(&shop, &unknown).await.expect(200).expect("taken");
    let foreign = dispute("pi_of_another_shop", "dp_foreign", "needs_response", 1);
    send_signed(&shop, &foreign).await.expect(200).expect("taken");
    let _ = assert_refused(&send_signed(&shop, &json!({"id": "evt_1"})).await, 400, "malformed_webhook");
    let answer = shop.api.get(PATH).send().await.expect("an answer");
    let _ = assert_refused(&answer, 405, "method_not_allowed");
    shop.close().await;
}
