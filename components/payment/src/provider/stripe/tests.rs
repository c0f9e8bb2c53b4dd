use serde_json::{Value, json};
use towpath_sdk::Money;

use super::*;

fn charge() -> Charge {
    Charge {
        order_id: "0190a5e4-7b3a-7c5d-8e9f-0123456789ab".parse().expect("an id"),
        amount: Money::new(1999, "EUR".parse().expect("a currency")),
        payment_method: "pm_card_visa".into(),
        since: Time::now(),
    }
}

fn read(status: u16, body: &Value) -> Result<Charged, ProviderError> {
    read_charge(status, None, body.to_string().as_bytes())
}

fn declined(reason: &str, reference: Option<&str>) -> Result<Charged, ProviderError> {
    Ok(Charged::Declined { reason: reason.into(), reference: reference.map(Into::into) })
}

fn is_later<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Later { .. }))
}

fn is_failed<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Failed { .. }))
}

#[test]
fn a_charge_is_a_form_with_the_orders_key() {
    let ask = ask_charge(&charge());
    assert_eq!(ask.key.as_deref(), Some("towpath-charge-0190a5e4-7b3a-7c5d-8e9f-0123456789ab"));
    assert_eq!((ask.method, ask.path.as_str()), ("POST", "/v1/payment_intents"));
    let expected = "amount=1999&currency=eur&payment%5Fmethod=pm%5Fcard%5Fvisa&payment%5Fmethod%5Ftypes%5B%5D=card\
        &confirm=true&error%5Fon%5Frequires%5Faction=true\
        &metadata%5Border%5Fid%5D=0190a5e4%2D7b3a%2D7c5d%2D8e9f%2D0123456789ab";
    assert_eq!(ask.body, expected);
    assert_eq!(ask, ask_charge(&charge()), "a second attempt asks the same");
}

#[test]
fn what_a_customer_sends_stays_in_its_field() {
    let ask = ask_charge(&Charge { payment_method: "pm&amount=1".into(), ..charge() });
    assert!(ask.body.contains("payment%5Fmethod=pm%26amount%3D1&"), "{}", ask.body);
}

#[test]
fn an_intent_that_succeeded_is_captured() {
    let intent = json!({"id": "pi_1", "object": "payment_intent", "status": "succeeded", "last_payment_error": null});
    assert_eq!(read(200, &intent), Ok(Charged::Captured { reference: "pi_1".into() }));
}

#[test]
fn a_card_error_declines_with_what_the_bank_said() {
    let error = |code: &str, decline_code: Option<&str>| {
        json!({"error": {"type": "card_error", "code": code, "decline_code": decline_code, "message": "declined",
            "payment_intent": {"id": "pi_1", "status": "requires_payment_method"}}})
    };
    let cases = [
        ("card_declined", Some("generic_decline"), "card_declined"),
        ("card_declined", Some("insufficient_funds"), "insufficient_funds"),
        ("expired_card", None, "expired_card"),
        ("authentication_required", Some("authentication_required"), "authentication_required"),
    ];
    for (code, decline_code, reason) in cases {
        assert_eq!(read(402, &error(code, decline_code)), declined(reason, Some("pi_1")));
    }
    assert_eq!(read(402, &Value::Null), declined("card_declined", None));
}

#[test]
fn what_the_customer_got_wrong_declines() {
    let error = |code: &str, param: &str| json!({"error": {"type": "invalid_request_error", "code": code, "param": param, "message": "no"}});
    assert_eq!(read(400, &error("resource_missing", "payment_method")), declined("invalid_payment_method", None));
    assert_eq!(read(400, &error("amount_too_small", "amount")), declined("amount_too_small", None));
}

#[test]
fn what_we_got_wrong_declines_nobody() {
    let unknown = json!({"error": {"type": "invalid_request_error", "code": "parameter_unknown", "param": "x"}});
    assert!(is_failed(read(400, &unknown)));
    let reused = json!({"error": {"type": "idempotency_error", "message": "other parameters"}});
    assert!(is_failed(read(400, &reused)));
    assert!(is_later(read(401, &json!({"error": {"type": "invalid_request_error"}}))));
}

#[test]
fn a_provider_that_cannot_answer_is_asked_again() {
    for status in [409, 429, 500, 502, 503] {
        assert!(is_later(read(status, &Value::Null)), "{status}");
    }
    assert!(is_later(read(200, &json!({"id": "pi_1", "status": "processing"}))));
    assert!(is_later(read_charge(200, None, b"<html>")));
    let error = read_charge(429, Some("7"), b"").expect_err("not answered");
    assert!(matches!(error, ProviderError::Later { retry_after_seconds: Some(7), .. }));
}

#[test]
fn an_intent_that_waits_for_somebody_is_declined() {
    let action = json!({"id": "pi_1", "status": "requires_action"});
    assert_eq!(read(200, &action), declined("authentication_required", Some("pi_1")));
    let method = json!({"id": "pi_1", "status": "requires_payment_method",
        "last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}});
    assert_eq!(read(200, &method), declined("lost_card", Some("pi_1")));
}

#[test]
fn a_charge_whose_key_is_forgotten_is_found() {
    let search = |data: Value| read_search(200, None, json!({ "data": data }).to_string().as_bytes());
    assert_eq!(search(json!([])), Ok(None));
    let failed = json!({"id": "pi_1", "status": "canceled"});
    let paid = json!({"id": "pi_2", "status": "succeeded"});
    assert_eq!(search(json!([failed, paid])), Ok(Some(Charged::Captured { reference: "pi_2".into() })));
    assert!(is_later(read_search(503, None, b"")));
    assert!(ask_search(&charge()).path.contains("0190a5e4%2D7b3a"));
}

#[test]
fn a_refund_is_asked_for_once_and_found_again() {
    let refund = Refund { order_id: charge().order_id, charge: "pi_1".into(), amount: charge().amount };
    let ask = ask_refund(&refund);
    assert_eq!(ask.key.as_deref(), Some("towpath-refund-0190a5e4-7b3a-7c5d-8e9f-0123456789ab"));
    assert!(ask.body.starts_with("payment%5Fintent=pi%5F1&amount=1999&"), "{}", ask.body);
    let read = |status, body: Value| read_refund(status, None, body.to_string().as_bytes(), "pi_1");
    assert_eq!(read(200, json!({"id": "re_1", "status": "succeeded"})), Ok("re_1".into()));
    assert_eq!(read(200, json!({"id": "re_1", "status": "pending"})), Ok("re_1".into()));
    let again = json!({"error": {"type": "invalid_request_error", "code": "charge_already_refunded"}});
    assert_eq!(read(400, again), Ok("already_refunded:pi_1".into()));
    assert!(is_failed(read(200, json!({"id": "re_1", "status": "failed"}))));
    assert!(is_failed(read(404, json!({"error": {"code": "resource_missing"}}))));
    assert!(is_later(read(500, Value::Null)));
}
