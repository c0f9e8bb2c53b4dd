use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn fault(kind: &str, code: Option<&str>) -> Fault {
    Fault { kind: kind.into(), code: code.map(Into::into), ..Fault::default() }
}

fn reason(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Declined(decline) => Some(decline.reason),
        _ => None,
    }
}

#[test]
fn every_decline_code_declines_with_what_the_customer_may_know() {
    for &(code, _, told) in DECLINES {
        let declined = Fault { decline_code: Some(code.into()), ..fault("card_error", Some("card_declined")) };
        let expected = Decline { reason: told.into(), provider_code: Some(code.into()) };
        assert_eq!(verdict(402, &declined), Verdict::Declined(expected), "{code}");
        // Stripe gives some as the code alone.
        assert_eq!(reason(verdict(402, &fault("card_error", Some(code)))).as_deref(), Some(told), "{code}");
        // And some as an error of another type.
        assert_eq!(reason(verdict(400, &fault("invalid_request_error", Some(code)))).as_deref(), Some(told), "{code}");
    }
}

#[test]
fn a_customer_is_never_told_that_a_card_is_reported() {
    for secret in ["fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "restricted_card", "stolen_card"] {
        assert!(DECLINES.iter().all(|(_, _, told)| *told != secret), "{secret}");
        let row = DECLINES.iter().find(|(code, ..)| *code == secret);
        assert_eq!(row.map(|(_, _, told)| *told), Some(DECLINED));
    }
}

#[test]
fn every_error_code_means_what_the_table_says() {
    for &(code, means) in CODES {
        let found = verdict(400, &fault("invalid_request_error", Some(code)));
        match means {
            Means::Declined(_, told) => assert_eq!(reason(found).as_deref(), Some(told), "{code}"),
            Means::Later => assert_eq!(found, Verdict::Later, "{code}"),
            Means::Spent => assert_eq!(found, Verdict::Spent, "{code}"),
            Means::OurFault => assert_eq!(found, Verdict::OurFault, "{code}"),
        }
    }
}

#[test]
fn no_code_has_two_meanings() {
    let codes: Vec<_> = DECLINES.iter().map(|(code, ..)| *code).chain(CODES.iter().map(|(code, _)| *code)).collect();
    let distinct: BTreeSet<_> = codes.iter().collect();
    assert_eq!(codes.len(), distinct.len());
}

#[test]
fn what_the_customer_sent_is_told_from_what_we_did_wrong() {
    let of = |status, param: &str| {
        reason(verdict(status, &Fault { param: Some(param.into()), ..fault("invalid_request_error", None) }))
    };
    assert_eq!(of(400, "payment_method").as_deref(), Some("invalid_payment_method"));
    assert_eq!(of(404, "payment_method").as_deref(), Some("invalid_payment_method"));
    // Stripe gives no code with "Invalid currency: ...".
    assert_eq!(of(400, "currency").as_deref(), Some("currency_not_supported"));
    assert_eq!(of(400, "amount").as_deref(), Some("invalid_amount"));
    let ours = Fault { param: Some("amount".into()), ..fault("invalid_request_error", Some("parameter_unknown")) };
    assert_eq!(verdict(400, &ours), Verdict::OurFault);
    assert_eq!(verdict(404, &fault("invalid_request_error", Some("resource_missing"))), Verdict::OurFault);
}

#[test]
fn statuses_decide_where_no_code_does() {
    for status in [401, 403, 408, 409, 425, 429] {
        assert_eq!(verdict(status, &Fault::default()), Verdict::Later, "{status}");
    }
    for status in [424, 500, 502, 503, 504] {
        assert_eq!(verdict(status, &Fault::default()), Verdict::Spent, "{status}");
    }
    assert_eq!(verdict(400, &Fault::default()), Verdict::OurFault);
    assert_eq!(reason(verdict(402, &Fault::default())).as_deref(), Some(DECLINED));
}

#[test]
fn a_key_that_was_used_for_something_else_is_spent_and_one_in_use_is_waited_for() {
    assert_eq!(verdict(400, &fault("idempotency_error", None)), Verdict::Spent);
    assert_eq!(verdict(409, &fault("idempotency_error", Some("idempotency_key_in_use"))), Verdict::Later);
    assert_eq!(verdict(409, &fault("idempotency_error", None)), Verdict::Later);
}

#[test]
fn every_reason_has_advice() {
    for (reason, expected) in [
        ("insufficient_funds", AskCustomer),
        ("expired_card", Final),
        ("issuer_not_available", TryLater),
        ("card_declined", AskCustomer),
        ("amount_too_small", Never),
        ("amount_too_large", Never),
        ("currency_not_supported", Never),
        ("amount_not_chargeable", Never),
        ("card_currency_not_supported", Final),
        ("charge_exceeds_transaction_limit", Final),
        ("invalid_payment_method", AskCustomer),
        ("a code of tomorrow", AskCustomer),
    ] {
        assert_eq!(advice(reason), expected, "{reason}");
    }
}

#[test]
fn only_what_no_payment_method_pays_is_never_paid() {
    for (code, _, told) in DECLINES {
        assert_ne!(advice(told), Never, "{code}: another card may pay");
    }
    for (code, means) in CODES {
        if let Means::Declined(meant, told) = means {
            assert_eq!(advice(told) == Never, *meant == Never, "{code}");
        }
    }
}

proptest! {
    /// Nothing that a bank says charges anybody, holds an event back or becomes a dead letter.
    #[test]
    fn whatever_a_bank_says_declines(code in proptest::option::of("[a-z_]{1,20}"), said in proptest::option::of("[a-z_]{1,20}")) {
        let fault = Fault { decline_code: said, ..fault("card_error", code.as_deref()) };
        let declined = matches!(verdict(402, &fault), Verdict::Declined(_));
        prop_assert!(declined || CODES.iter().any(|(known, _)| Some(*known) == code.as_deref()));
    }
}
