//! Stripe's requests and answers against [stripe-mock](https://github.com/stripe/stripe-mock), which checks every
//! parameter against Stripe's own description of its interface.

use std::time::Duration;

use serde_json::Value;
use towpath_audit::provider::{Account, Comparison};
use towpath_payment::provider::{
    Answer, Charge, ProviderError, Refund,
    stripe::{Ask, Call, Created, VERSION, key, read_created, read_intent, read_refund, read_refunds},
    units::Units,
};
use towpath_sdk::{Id, Money};
use towpath_tests::TestDatabases;

/// The running stripe-mock.
fn url() -> String {
    std::env::var("TOWPATH_TEST_STRIPE")
        .expect("TOWPATH_TEST_STRIPE must hold the URL of a stripe-mock; `./towpath test` starts one")
}

async fn send(ask: Ask) -> Answer {
    let client = reqwest::Client::new();
    let url = format!("{}{}", url(), ask.path);
    let mut request = if ask.method == "GET" { client.get(url) } else { client.post(url) };
    if let Some(key) = ask.key {
        request = request.header("idempotency-key", key);
    }
    if ask.method == "POST" {
        request = request.header("content-type", "application/x-www-form-urlencoded").body(ask.body);
    }
    let request = request.header("authorization", "Bearer sk_test_123").header("stripe-version", VERSION);
    let answer = request.send().await.expect("stripe-mock answers");
    let status = answer.status().as_u16();
    Answer { status, retry_after: None, body: answer.bytes().await.expect("a body").to_vec() }
}

fn charge() -> Charge {
    let money = Money::new(1999, "EUR".parse().expect("a currency"));
    let units = Units::of(money).expect("payable");
    Charge { order_id: Id::new(), money, units, payment_method: "pm_card_visa".into() }
}

fn create() -> Call {
    let charge = charge();
    let key = key("create", charge.order_id, 1);
    Call::Create { charge, key }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// What stripe-mock's fixture says the amount is, whatever was asked.
fn of_fixture(answer: &Answer, amount: &str) -> Units {
    let object = json(answer);
    let text = object["currency"].as_str().expect("a currency").to_owned();
    Units { amount: object[amount].as_i64().expect("an amount"), currency: text }
}

#[tokio::test]
async fn an_intent_is_created_unconfirmed() {
    let answer = send(create().ask()).await;
    let intent = json(&answer);
    assert_eq!((answer.status, &intent["object"]), (200, &"payment_intent".into()), "{intent}");
    let created = read_created(&answer, &of_fixture(&answer, "amount")).expect("a final answer");
    assert_eq!(created, Created::Intent(intent["id"].as_str().expect("an id").into()));
}

#[tokio::test]
async fn every_call_of_an_intent_is_understood() {
    let intent = || "pi_123".to_owned();
    let confirm =
        Call::Confirm { intent: intent(), payment_method: "pm_card_visa".into(), key: key("confirm", Id::new(), 1) };
    for call in [confirm, Call::Cancel { intent: intent() }, Call::Look { intent: intent() }] {
        let answer = send(call.ask()).await;
        assert_eq!(answer.status, 200, "{call:?}: {}", json(&answer));
        assert_eq!(json(&answer)["object"], "payment_intent");
        // Whatever state the fixture is in: it is one that we know.
        let read = read_intent(&answer, &of_fixture(&answer, "amount_received"));
        assert!(!matches!(read, Err(ProviderError::Failed { .. })), "{read:?}");
    }
}

#[tokio::test]
async fn every_call_of_a_refund_is_understood() {
    let charge = charge();
    let refund = Refund { order_id: charge.order_id, intent: "pi_123".into(), units: charge.units };
    let give_back = Call::Refund { refund, key: key("refund", charge.order_id, 1) };
    for call in [give_back, Call::LookAtRefund { reference: "re_123".into() }] {
        let answer = send(call.ask()).await;
        assert_eq!(answer.status, 200, "{call:?}: {}", json(&answer));
        let given = read_refund(&answer, &of_fixture(&answer, "amount")).expect("a final answer");
        assert!(given.reference.starts_with("re_"), "{given:?}");
    }
    let list = send(Call::ListRefunds { intent: "pi_123".into() }.ask()).await;
    assert_eq!(list.status, 200, "{}", json(&list));
    let first = &json(&list)["data"][0];
    let units = Units {
        amount: first["amount"].as_i64().expect("an amount"),
        currency: first["currency"].as_str().expect("a currency").into(),
    };
    assert!(read_refunds(&list, &units).is_ok(), "{}", json(&list));
}

/// What `audit --provider` asks, and whether it reads what Stripe's description says that lists look like.
#[tokio::test]
async fn the_lists_of_the_audit_are_understood() {
    let databases = TestDatabases::migrated().await;
    let account = Account { url: url(), key: "sk_test_123".into() };
    let (payments, folder) = (databases.for_audit().payment, std::env::temp_dir());
    let comparison = Comparison { payments: &payments, stripe: Some(&account), folder: &folder, grace: Duration::ZERO };
    let summaries = comparison.run(&mut |difference| panic!("{difference}"), &|_| ()).await.expect("it is listed");
    let [stripe] = summaries.as_slice() else { panic!("{summaries:?}") };
    assert!(stripe.intents > 0 && stripe.refunds > 0, "{stripe:?}");
    assert_eq!(stripe.foreign, stripe.intents + stripe.refunds, "none of its fixtures is of an order");
    // The pages behind the first one are asked for as Stripe describes, too.
    for list in ["payment_intents", "refunds"] {
        let path = format!("/v1/{list}?limit=100&starting_after=x_123");
        let answer = send(Ask { method: "GET", path, key: None, body: String::new() }).await;
        assert_eq!((answer.status, &json(&answer)["object"]), (200, &"list".into()), "{list}");
    }
}

#[tokio::test]
async fn a_parameter_that_stripe_does_not_know_is_our_fault_and_declines_nobody() {
    let mut ask = create().ask();
    ask.body.push_str("&surprise=1");
    let answer = send(ask).await;
    assert_eq!(answer.status, 400);
    assert!(matches!(read_created(&answer, &charge().units), Err(ProviderError::Failed { .. })));
}
