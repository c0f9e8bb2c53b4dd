//! Stripe's requests and answers against [stripe-mock](https://github.com/stripe/stripe-mock), which checks every
//! parameter against Stripe's own description of its interface.

use serde_json::Value;
use towpath_payment::provider::{
    Charge, Charged, ProviderError, Refund,
    stripe::{Ask, VERSION, ask_charge, ask_refund, ask_search, read_charge, read_refund, read_search},
};
use towpath_sdk::{Id, Money, Time};

/// The running stripe-mock.
fn url() -> String {
    std::env::var("TOWPATH_TEST_STRIPE")
        .expect("TOWPATH_TEST_STRIPE must hold the URL of a stripe-mock; `./towpath test` starts one")
}

async fn send(ask: Ask) -> (u16, Vec<u8>) {
    let client = reqwest::Client::new();
    let url = format!("{}{}", url(), ask.path);
    let mut request = if ask.method == "GET" { client.get(url) } else { client.post(url) };
    if let Some(key) = ask.key {
        request = request
            .header("idempotency-key", key)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(ask.body);
    }
    let request = request.header("authorization", "Bearer sk_test_123").header("stripe-version", VERSION);
    let answer = request.send().await.expect("stripe-mock answers");
    let status = answer.status().as_u16();
    (status, answer.bytes().await.expect("a body").to_vec())
}

fn charge() -> Charge {
    Charge {
        order_id: Id::new(),
        amount: Money::new(1999, "EUR".parse().expect("a currency")),
        payment_method: "pm_card_visa".into(),
        since: Time::now(),
    }
}

#[tokio::test]
async fn a_charge_is_understood() {
    let (status, body) = send(ask_charge(&charge())).await;
    let intent: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(status, 200, "{intent}");
    assert_eq!(intent["object"], "payment_intent");
    // What stripe-mock's fixture says of an intent, whatever was asked, is what must be read.
    let reference = intent["id"].as_str().expect("an id").to_owned();
    match read_charge(status, None, &body).expect("a final answer") {
        Charged::Captured { reference: read } => {
            assert_eq!((read, &intent["status"]), (reference, &"succeeded".into()))
        }
        Charged::Declined { reference: read, .. } => {
            assert_eq!(read, Some(reference));
            assert_ne!(intent["status"], "succeeded");
        }
    }
}

#[tokio::test]
async fn a_refund_is_understood() {
    let charge = charge();
    let refund = Refund { order_id: charge.order_id, charge: "pi_123".into(), amount: charge.amount };
    let (status, body) = send(ask_refund(&refund)).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let name = read_refund(status, None, &body, &refund.charge).expect("a final answer");
    assert!(name.starts_with("re_"), "{name}");
}

#[tokio::test]
async fn a_search_is_understood() {
    let (status, body) = send(ask_search(&charge())).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert!(read_search(status, None, &body).is_ok());
}

#[tokio::test]
async fn a_parameter_that_stripe_does_not_know_is_our_fault_and_declines_nobody() {
    let mut ask = ask_charge(&charge());
    ask.body.push_str("&surprise=1");
    let (status, body) = send(ask).await;
    assert_eq!(status, 400);
    assert!(matches!(read_charge(status, None, &body), Err(ProviderError::Failed { .. })));
}
