use serde_json::{Value, json};
use towpath_sdk::Money;

use super::*;

fn money() -> Money {
    Money::new(1999, "EUR".parse().expect("a currency"))
}

fn asked() -> Units {
    Units::of(money()).expect("payable")
}

fn order_id() -> Id {
    "0190a5e4-7b3a-7c5d-8e9f-0123456789ab".parse().expect("an id")
}

fn charge() -> Charge {
    Charge { order_id: order_id(), money: money(), units: asked(), payment_method: "pm_card_visa".into() }
}

fn create(charge: Charge) -> Ask {
    Call::Create { charge, key: key("create", order_id(), 1) }.ask()
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, retry_after: None, body: body.to_string().into_bytes() }
}

fn read(status: u16, body: &Value) -> Result<Standing, ProviderError> {
    read_intent(&answer(status, body), &asked())
}

fn declined(reason: &str, code: Option<&str>) -> Result<Standing, ProviderError> {
    Ok(Standing::Declined(Decline { reason: reason.into(), provider_code: code.map(Into::into) }))
}

fn is_later<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Later { .. }))
}

fn is_spent<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Spent { .. }))
}

fn is_failed<T>(result: Result<T, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Failed { .. }))
}

#[test]
fn an_intent_is_created_unconfirmed_under_the_key_of_its_attempt() {
    let ask = create(charge());
    assert_eq!(ask.key.as_deref(), Some("towpath-create-0190a5e4-7b3a-7c5d-8e9f-0123456789ab-1"));
    assert_eq!((ask.method, ask.path.as_str()), ("POST", "/v1/payment_intents"));
    let expected = "amount=1999&currency=eur&payment%5Fmethod=pm%5Fcard%5Fvisa&payment%5Fmethod%5Ftypes%5B%5D=card\
        &metadata%5Border%5Fid%5D=0190a5e4%2D7b3a%2D7c5d%2D8e9f%2D0123456789ab";
    assert_eq!(ask.body, expected);
    assert_eq!(ask, create(charge()), "a second call of an attempt asks the same");
    assert_ne!(key("create", order_id(), 1), key("create", order_id(), 2));
    assert_ne!(key("create", order_id(), 1), key("confirm", order_id(), 1));
}

#[test]
fn the_other_calls_name_what_they_are_about() {
    let ask = |call: Call| {
        let Ask { method, path, key, body } = call.ask();
        (method, path, key, body)
    };
    let intent = || "pi_1".to_owned();
    let key = Some("k".to_owned());
    assert_eq!(
        ask(Call::Confirm { intent: intent(), payment_method: "pm_2".into(), key: "k".into() }),
        ("POST", "/v1/payment_intents/pi%5F1/confirm".into(), key.clone(), "payment%5Fmethod=pm%5F2".into())
    );
    assert_eq!(
        ask(Call::Cancel { intent: intent() }),
        ("POST", "/v1/payment_intents/pi%5F1/cancel".into(), None, "cancellation%5Freason=abandoned".into())
    );
    assert_eq!(ask(Call::Look { intent: intent() }), ("GET", "/v1/payment_intents/pi%5F1".into(), None, String::new()));
    let refund = Refund { order_id: order_id(), intent: intent(), units: asked() };
    let (method, path, refund_key, body) = ask(Call::Refund { refund, key: "k".into() });
    assert_eq!((method, path.as_str(), refund_key), ("POST", "/v1/refunds", key));
    assert!(body.starts_with("payment%5Fintent=pi%5F1&amount=1999&"), "{body}");
    assert_eq!(ask(Call::LookAtRefund { reference: "re_1".into() }).1, "/v1/refunds/re%5F1");
    assert_eq!(ask(Call::ListRefunds { intent: intent() }).1, "/v1/refunds?limit=100&payment_intent=pi%5F1");
}

#[test]
fn what_a_customer_sends_stays_in_its_field() {
    let ask = create(Charge { payment_method: "pm&amount=1".into(), ..charge() });
    assert!(ask.body.contains("payment%5Fmethod=pm%26amount%3D1&"), "{}", ask.body);
}

#[test]
fn amounts_are_written_in_stripes_units() {
    let money = Money::new(5, "ISK".parse().expect("a currency"));
    let ask = create(Charge { money, units: Units::of(money).expect("payable"), ..charge() });
    assert!(ask.body.starts_with("amount=500&currency=isk&"), "{}", ask.body);
}

#[test]
fn an_intent_says_where_it_stands() {
    let intent = |status: &str, received: i64| json!({"id": "pi_1", "status": status, "amount": 1999, "amount_received": received, "currency": "eur"});
    assert_eq!(read(200, &intent("succeeded", 1999)), Ok(Standing::Captured));
    assert_eq!(read(200, &intent("canceled", 0)), Ok(Standing::Cancelled));
    assert_eq!(read(200, &intent("requires_confirmation", 0)), Ok(Standing::Unconfirmed));
    assert_eq!(read(200, &intent("processing", 0)), Ok(Standing::Processing));
    assert!(is_later(read(200, &intent("requires_capture", 0))));
    assert_eq!(read(200, &intent("requires_action", 0)), Ok(Standing::ActionRequired));
    let mut method = intent("requires_payment_method", 0);
    assert_eq!(read(200, &method), declined("card_declined", None));
    method["last_payment_error"] =
        json!({"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor"});
    assert_eq!(read(200, &method), declined("do_not_honor", Some("do_not_honor")));
}

#[test]
fn another_amount_or_currency_than_was_asked_is_not_captured() {
    for (amount, currency) in [(json!(1998), json!("eur")), (json!(1999), json!("usd")), (json!(199_900), json!("eur"))]
    {
        let paid = json!({"id": "pi_1", "status": "succeeded", "amount": 1999, "amount_received": amount, "currency": currency});
        let differs = read(200, &paid);
        assert!(matches!(&differs, Ok(Standing::Differs { .. })), "{differs:?}");
    }
    let silent = json!({"id": "pi_1", "status": "succeeded"});
    assert_eq!(read(200, &silent), Ok(Standing::Differs { what: "no amount of no currency".into() }));
}

#[test]
fn an_intent_for_another_amount_is_not_confirmed() {
    let created = |amount: i64, currency: &str| {
        let intent = json!({"id": "pi_1", "status": "requires_confirmation", "amount": amount, "currency": currency});
        read_created(&answer(200, &intent), &asked())
    };
    assert_eq!(created(1999, "eur"), Ok(Created::Intent("pi_1".into())));
    for (amount, currency) in [(199_900, "eur"), (1999, "usd")] {
        let what = format!("{amount} {currency}");
        assert_eq!(created(amount, currency), Ok(Created::Differs { intent: "pi_1".into(), what }));
    }
}

#[test]
fn an_intent_that_is_elsewhere_says_where() {
    let error = |status: &str| {
        let intent =
            json!({"id": "pi_1", "status": status, "amount": 1999, "amount_received": 1999, "currency": "eur"});
        json!({"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "payment_intent": intent}})
    };
    assert_eq!(read(400, &error("succeeded")), Ok(Standing::Captured));
    assert_eq!(read(400, &error("canceled")), Ok(Standing::Cancelled));
    let silent = json!({"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}});
    assert!(is_spent(read(400, &silent)), "a look tells");
}

#[test]
fn a_card_error_declines_with_what_the_bank_said() {
    let error = |code: &str, decline_code: Option<&str>| {
        json!({"error": {"type": "card_error", "code": code, "decline_code": decline_code, "message": "declined",
            "payment_intent": {"id": "pi_1", "status": "requires_payment_method"}}})
    };
    let cases = [
        ("card_declined", Some("generic_decline"), "card_declined", "generic_decline"),
        ("card_declined", Some("insufficient_funds"), "insufficient_funds", "insufficient_funds"),
        ("card_declined", Some("stolen_card"), "card_declined", "stolen_card"),
        ("expired_card", None, "expired_card", "expired_card"),
        (
            "authentication_required",
            Some("authentication_required"),
            "authentication_required",
            "authentication_required",
        ),
    ];
    for (code, decline_code, reason, kept) in cases {
        assert_eq!(read(402, &error(code, decline_code)), declined(reason, Some(kept)));
    }
    assert_eq!(read(402, &Value::Null), declined("card_declined", None));
}

#[test]
fn a_currency_that_stripe_does_not_take_declines_and_is_no_dead_letter() {
    let message = "Invalid currency: irr. Stripe currently supports these currencies: usd, aed, ...";
    let error = json!({"error": {"type": "invalid_request_error", "param": "currency", "message": message}});
    let created = read_created(&answer(400, &error), &asked());
    assert_eq!(
        created,
        Ok(Created::Declined(Decline { reason: "currency_not_supported".into(), provider_code: None }))
    );
}

#[test]
fn what_we_got_wrong_declines_nobody() {
    let unknown = json!({"error": {"type": "invalid_request_error", "code": "parameter_unknown", "param": "x"}});
    assert!(is_failed(read(400, &unknown)));
    assert!(is_later(read(401, &json!({"error": {"type": "invalid_request_error"}}))));
}

#[test]
fn a_provider_that_cannot_answer_is_asked_again() {
    for status in [409, 429] {
        assert!(is_later(read(status, &Value::Null)), "{status}");
    }
    for status in [500, 502, 503] {
        assert!(is_spent(read(status, &Value::Null)), "{status}: the key keeps it");
    }
    assert!(is_spent(read(400, &json!({"error": {"type": "idempotency_error", "message": "other parameters"}}))));
    assert!(is_later(read_intent(&Answer { status: 200, retry_after: None, body: b"<html>".to_vec() }, &asked())));
    let limited = Answer { status: 429, retry_after: Some("7".into()), body: vec![] };
    let error = read_intent(&limited, &asked()).expect_err("not answered");
    assert!(matches!(error, ProviderError::Later { retry_after_seconds: Some(7), .. }));
}

#[test]
fn a_refund_says_where_it_stands() {
    let refund = |status: &str| json!({"id": "re_1", "status": status, "amount": 1999, "currency": "eur"});
    let state = |body: Value| read_refund(&answer(200, &body), &asked()).map(|given| given.state);
    assert_eq!(state(refund("succeeded")), Ok(GivenState::Succeeded));
    assert_eq!(state(refund("pending")), Ok(GivenState::Pending));
    assert_eq!(state(refund("requires_action")), Ok(GivenState::Pending));
    assert_eq!(state(refund("canceled")), Ok(GivenState::Failed { code: "canceled".into() }));
    let mut failed = refund("failed");
    failed["failure_reason"] = "lost_or_stolen_card".into();
    assert_eq!(state(failed), Ok(GivenState::Failed { code: "lost_or_stolen_card".into() }));
    assert!(is_failed(state(json!({"id": "re_1", "status": "succeeded", "amount": 1, "currency": "eur"}))));
    let read = |status, body: Value| read_refund(&answer(status, &body), &asked());
    assert!(is_failed(read(404, json!({"error": {"code": "resource_missing"}}))));
    assert!(is_spent(read(500, Value::Null)));
}

#[test]
fn a_refund_that_stripe_refuses_for_good_needs_a_person_and_is_no_fault_of_ours() {
    let read = |error: Value| read_refund(&answer(400, &json!({ "error": error })), &asked());
    let refused = |code: &str| Err(ProviderError::Refused { code: code.into() });
    for code in REFUSED_REFUNDS {
        assert_eq!(read(json!({"type": "invalid_request_error", "code": code})), refused(code));
    }
    // Somebody has given a part of it back: "Refund amount (19.99) is greater than unrefunded amount on charge (9.99)".
    assert_eq!(read(json!({"type": "invalid_request_error", "param": "amount"})), refused("invalid_amount"));
    // Whatever payment itself got wrong stays its own fault.
    assert!(is_failed(read(json!({"type": "invalid_request_error", "code": "parameter_unknown", "param": "amount"}))));
    // Our balance is too low: that passes.
    assert!(is_spent(read(json!({"type": "invalid_request_error", "code": "balance_insufficient"}))));
}

#[test]
fn the_refund_that_counts_is_found() {
    let refund = |id: &str, status: &str| json!({"id": id, "status": status, "amount": 1999, "currency": "eur"});
    let read = |data: Value| read_refunds(&answer(200, &json!({"data": data, "has_more": false})), &asked());
    assert_eq!(read(json!([])), Ok(None));
    assert_eq!(read(json!([refund("re_1", "failed")])), Ok(None));
    let found = read(json!([refund("re_2", "canceled"), refund("re_1", "pending")]));
    assert_eq!(found, Ok(Some(Given { reference: "re_1".into(), state: GivenState::Pending })));
    let part = json!({"id": "re_0", "status": "succeeded", "amount": 999, "currency": "eur"});
    assert_eq!(read(json!([part])), Ok(None), "somebody gave a part of it back");
    let whole = read(json!([part, refund("re_1", "succeeded")]));
    assert_eq!(whole, Ok(Some(Given { reference: "re_1".into(), state: GivenState::Succeeded })));
    assert!(is_later(read_refunds(&answer(503, &Value::Null), &asked())));
}

#[test]
fn the_secret_of_an_intent_is_told_while_its_customer_is_waited_for_and_shown_in_no_log() {
    let intent = |status: &str| json!({"id": "pi_1", "status": status, "amount": 1999, "currency": "eur", "client_secret": "pi_1_secret_x"});
    let secret = |status: &str| read_secret(&answer(200, &intent(status)));
    assert_eq!(secret("requires_action"), Ok(Some("pi_1_secret_x".into())));
    assert_eq!(secret("succeeded"), Ok(None));
    assert!(is_later(read_secret(&answer(500, &Value::Null))));
    for status in ["requires_action", "succeeded", "processing", "requires_capture"] {
        let shown = format!("{:?}", read(200, &intent(status)));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
