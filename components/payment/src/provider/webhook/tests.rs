use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000;
const BODY: &[u8] = br#"{"id":"evt_1"}"#;

/// The value is written down from another program: `printf '1790000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_1`.
#[test]
fn a_signature_is_the_one_that_stripe_makes() {
    assert_eq!(
        sign(BODY, "whsec_1", NOW),
        format!("t={NOW},v1=ace72f9d559fb7bff58a31b5b3ac2ba03497737581c689dfe693de3df9ac4a1d")
    );
    assert_eq!(verify(&sign(BODY, "whsec_1", NOW), BODY, &["whsec_1"], NOW), Ok(()));
}

#[test]
fn the_raw_body_is_what_is_signed() {
    let header = sign(BODY, "a", NOW);
    for other in [&b"{\"id\": \"evt_1\"}"[..], b"{\"id\":\"evt_2\"}", b""] {
        assert_eq!(verify(&header, other, &["a"], NOW), Err(Refused::NotSigned));
    }
}

#[test]
fn two_secrets_are_valid_while_one_is_rotated_and_none_if_it_is_empty() {
    for secrets in [["old", "new"], ["new", "old"]] {
        for secret in ["old", "new"] {
            assert_eq!(verify(&sign(BODY, secret, NOW), BODY, &secrets, NOW), Ok(()));
        }
        assert_eq!(verify(&sign(BODY, "other", NOW), BODY, &secrets, NOW), Err(Refused::NotSigned));
    }
    assert_eq!(verify(&sign(BODY, "old", NOW), BODY, &["new", ""], NOW), Err(Refused::NotSigned), "it is over");
    assert_eq!(verify(&sign(BODY, "", NOW), BODY, &["", ""], NOW), Err(Refused::NotSigned));
    // Stripe signs with both while it rotates its side.
    let both = format!("{},{}", sign(BODY, "other", NOW), sign(BODY, "a", NOW).replace(&format!("t={NOW},"), ""));
    assert_eq!(verify(&both, BODY, &["a"], NOW), Ok(()));
}

#[test]
fn what_was_signed_long_ago_or_far_ahead_is_refused() {
    for (distance, expected) in [
        (0, Ok(())),
        (TOLERANCE_SECONDS, Ok(())),
        (-TOLERANCE_SECONDS, Ok(())),
        (TOLERANCE_SECONDS + 1, Err(Refused::OutOfTime)),
        (-TOLERANCE_SECONDS - 1, Err(Refused::OutOfTime)),
    ] {
        assert_eq!(verify(&sign(BODY, "a", NOW), BODY, &["a"], NOW + distance), expected, "{distance}");
    }
    let moved = sign(BODY, "a", NOW).replace(&NOW.to_string(), &(NOW + 1000).to_string());
    assert_eq!(verify(&moved, BODY, &["a"], NOW + 1000), Err(Refused::NotSigned), "the time is signed too");
}

#[test]
fn a_header_of_another_form_is_refused() {
    let signed = sign(BODY, "a", NOW);
    let (time, signature) = signed.split_once(',').expect("two parts");
    let v0 = signature.replace("v1", "v0");
    let cases = [
        String::new(),
        "t=1".into(),
        time.into(),
        signature.into(),
        format!("{time},{v0}"),
        format!("t=x,{signature}"),
        format!("{time},v1=xyz"),
        format!("{time},v1=äö"),
        format!("t={},{signature}", i128::from(i64::MAX) + 1),
    ];
    for header in cases {
        assert_eq!(verify(&header, BODY, &["a"], NOW), Err(Refused::Malformed), "{header}");
    }
    for short in [format!("{time},v1="), format!("{time},v1=00"), format!("t={},{signature}", i64::MIN)] {
        assert_eq!(verify(&short, BODY, &["a"], NOW), Err(Refused::NotSigned), "{short}");
    }
    for others in ["v0=00", "v1=00", "v1=xyz", "v2=xyz", "v1=00,v1=,v1=xyz", "new=scheme"] {
        for header in [format!("{time}, {others}, {signature}"), format!("{time},{signature},{others}")] {
            assert_eq!(verify(&header, BODY, &["a"], NOW), Ok(()), "{header}");
        }
    }
}

fn webhook(kind: &str, object: &Value) -> Webhook {
    let body = json!({"id": "evt_1", "type": kind, "created": NOW, "data": {"object": object}});
    read(body.to_string().as_bytes(), None).expect("a webhook")
}

#[test]
fn webhooks_say_what_they_are_about() {
    let refund = json!({"id": "re_1", "object": "refund", "payment_intent": "pi_1", "status": "succeeded"});
    for kind in ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"] {
        assert_eq!(webhook(kind, &refund).about, About::Refund { intent: "pi_1".into() }, "{kind}");
    }
    for kind in ["requires_action", "processing", "succeeded", "payment_failed", "canceled"] {
        let intent = webhook(&format!("payment_intent.{kind}"), &json!({"id": "pi_1", "object": "payment_intent"}));
        assert_eq!(intent.about, About::Intent { intent: "pi_1".into() }, "{kind}");
    }
    let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 5, "currency": "eur"});
    let (intent, currency) = ("pi_1".to_owned(), "eur".to_owned());
    let refunded =
        About::Refunded { intent: intent.clone(), charge: "ch_1".into(), amount: 5, currency: currency.clone() };
    assert_eq!(webhook("charge.refunded", &charge).about, refunded);
    let nothing = json!({"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 0, "currency": "eur"});
    let nothing = webhook("charge.refunded", &nothing).about;
    assert_eq!(nothing, About::Refund { intent: intent.clone() }, "nothing went back: a question, and no case");
    for (status, closed) in [("needs_response", false), ("under_review", false), ("won", true), ("lost", true)] {
        let object = json!({"id": "dp_1", "payment_intent": "pi_1", "status": status, "reason": "fraudulent", "amount": 5, "currency": "eur"});
        let (intent, currency) = (intent.clone(), currency.clone());
        let expected = Dispute {
            reference: "dp_1".into(),
            intent,
            status: status.into(),
            reason: Some("fraudulent".into()),
            amount: 5,
            currency,
            closed,
        };
        assert_eq!(webhook("charge.dispute.closed", &object).about, About::Dispute(expected));
    }
}

#[test]
fn what_is_unknown_or_not_ours_is_about_nothing() {
    let refund = json!({"id": "re_1", "payment_intent": null});
    assert_eq!(webhook("refund.updated", &refund).about, About::Nothing, "a charge without an intent");
    assert_eq!(webhook("charge.refunded", &json!({"payment_intent": "pi_1"})).about, About::Nothing);
    let long = "x".repeat(1000);
    let unknown = webhook(&long, &json!({"payment_intent": "pi_1"}));
    assert_eq!((unknown.about, unknown.kind.len()), (About::Nothing, MAX_CHARS));
}

#[test]
fn what_is_no_webhook_is_refused() {
    for wrong in [
        &b""[..],
        b"{}",
        b"[]",
        br#"{"id": "", "type": "a", "created": 1, "data": {"object": {}}}"#,
        br#"{"id": "e", "type": "a", "created": "now", "data": {"object": {}}}"#,
        br#"{"id": "e", "type": "a", "created": 1}"#,
        br#"{"id": "e", "type": "a", "created": -1, "data": {"object": {}}}"#,
        br#"{"id": "e", "type": "a", "created": 253402300800, "data": {"object": {}}}"#,
    ] {
        assert!(read(wrong, None).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn a_name_with_a_character_that_no_database_takes_is_no_webhook() {
    let body = |id: &str, kind: &str, object: Value| {
        json!({"id": id, "type": kind, "created": 1, "data": {"object": object}}).to_string()
    };
    let dispute = |field: &str| {
        let mut object = json!({"id": "dp_1", "payment_intent": "pi_1", "status": "won", "reason": "fraudulent",
            "amount": 5, "currency": "eur", "evidence": "\0"});
        object[field] = "a\0".into();
        body("evt_1", "charge.dispute.closed", object)
    };
    for wrong in [
        body("evt\0", "a.kind", json!({})),
        body("evt_1", "a\0", json!({})),
        body("evt_1", "payment_intent.succeeded", json!({"id": "pi\0"})),
        body("evt_1", "refund.updated", json!({"payment_intent": "pi\0"})),
        dispute("id"),
        dispute("payment_intent"),
        dispute("status"),
        dispute("reason"),
        dispute("currency"),
    ] {
        assert!(read(wrong.as_bytes(), None).is_err(), "{wrong}");
    }
    assert!(read(dispute("evidence").as_bytes(), None).is_ok(), "what is not kept may have it");
}

proptest! {
    #[test]
    fn no_header_and_no_body_makes_it_panic_or_pass(header in "[tv01=, a-f0-9]{0,80}|\\PC{0,40}", body: Vec<u8>, now: i64) {
        prop_assert!(verify(&header, &body, &["secret"], now).is_err());
        let _ = read(&body, None);
    }
}

#[test]
fn what_another_account_or_the_other_mode_says_is_about_nothing_of_ours() {
    for (key, expected) in [
        ("sk_live_1", Some(true)),
        ("rk_live_1", Some(true)),
        (" sk_test_1\n", Some(false)),
        ("rk_test_1", Some(false)),
        ("", None),
        ("of_another_kind", None),
        ("sk_1_live_", None),
    ] {
        assert_eq!(live_mode(key), expected, "{key}");
    }
    let told = |live: bool, account: Value, ours: Option<bool>| {
        let body = json!({"id": "evt_1", "type": "payment_intent.succeeded", "created": 1, "livemode": live,
            "account": account, "data": {"object": {"id": "pi_1"}}});
        read(body.to_string().as_bytes(), ours).expect("a webhook").about
    };
    let heard = About::Intent { intent: "pi_1".into() };
    for live in [true, false] {
        assert_eq!(told(live, Value::Null, Some(live)), heard);
        assert_eq!(told(live, Value::Null, None), heard, "the sandbox has no mode");
        assert_eq!(told(live, Value::Null, Some(!live)), About::Nothing);
        assert_eq!(told(live, json!("acct_1"), Some(live)), About::Nothing);
    }
}
