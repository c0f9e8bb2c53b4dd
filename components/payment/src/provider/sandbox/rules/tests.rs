//! The sandbox's answers, read by the same functions that read Stripe's.

use proptest::{prelude::*, sample};
use towpath_sdk::Id;

use super::{
    cards::{ASKING, DECLINED, DECLINED_WITH, PAYING},
    *,
};
use crate::provider::{
    ProviderError, Refund,
    outcomes::{DECLINED as NOTHING_TOLD, DECLINES, Decline},
    stripe::{Created, Given, GivenState, Standing, read_created, read_intent, read_refund, read_refunds, read_secret},
};

fn money() -> Money {
    Money::new(1999, "EUR".parse().expect("a currency"))
}

fn asked() -> Units {
    Units::of(money()).expect("payable")
}

fn charge(payment_method: &str) -> Charge {
    Charge {
        order_id: "0190a5e4-7b3a-7c5d-8e9f-0123456789ab".parse().expect("an id"),
        money: money(),
        units: asked(),
        payment_method: payment_method.into(),
    }
}

fn intent(payment_method: &str, status: IntentStatus) -> Seen {
    let reference = "pi".into();
    let payment_method = payment_method.into();
    Seen {
        intent: Some(Intent { reference, money: money(), payment_method, status, secret: "s".into() }),
        ..Seen::default()
    }
}

fn refunded(payment_method: &str, status: RefundStatus) -> Seen {
    let refund = Some(RefundEntry { reference: "re".into(), status });
    Seen { refund, ..intent(payment_method, IntentStatus::Succeeded) }
}

fn create(payment_method: &str) -> Call {
    Call::Create { charge: charge(payment_method), key: "key".into() }
}

fn confirm(payment_method: &str) -> Call {
    Call::Confirm { intent: "pi".into(), payment_method: payment_method.into(), key: "key".into() }
}

fn refund() -> Call {
    let refund = Refund { order_id: charge("").order_id, intent: "pi".into(), units: asked() };
    Call::Refund { refund, key: "key".into() }
}

fn decision(call: &Call, seen: &Seen) -> Decision {
    decide(call, seen, "1")
}

fn confirmed(payment_method: &str) -> Result<Standing, ProviderError> {
    read_intent(
        &decision(&confirm(payment_method), &intent(payment_method, IntentStatus::Unconfirmed)).answer,
        &asked(),
    )
}

fn declined(reason: &str, code: &str) -> Result<Standing, ProviderError> {
    Ok(Standing::Declined(Decline { reason: reason.into(), provider_code: Some(code.into()) }))
}

#[test]
fn an_intent_is_created_without_charging_anybody() {
    for name in PAYING.iter().chain(DECLINED.iter().map(|(name, _)| name)) {
        let decision = decision(&create(name), &Seen::default());
        assert_eq!(read_created(&decision.answer, &asked()), Ok(Created::Intent("sandbox_pi_1".into())), "{name}");
        assert!(matches!(decision.change, Change::Create { .. }));
    }
}

#[test]
fn every_test_name_that_pays_pays() {
    for name in PAYING {
        assert_eq!(confirmed(name), Ok(Standing::Captured), "{name}");
    }
}

#[test]
fn every_test_name_that_is_declined_is_declined_as_at_stripe() {
    for (name, code) in DECLINED {
        let told = DECLINES.iter().find(|(known, ..)| known == code).map(|(_, _, told)| *told);
        assert_eq!(confirmed(name), declined(told.expect("in the table"), code), "{name}");
        let with_brand = name.replacen("pm_card_chargeDeclined", "pm_card_visa_chargeDeclined", 1);
        assert_eq!(card(&with_brand), Card::Declined(code));
    }
    assert_eq!(confirmed("pm_card_chargeDeclined"), declined("card_declined", "generic_decline"));
    assert_eq!(
        confirmed("pm_card_chargeDeclinedInsufficientFunds"),
        declined("insufficient_funds", "insufficient_funds")
    );
    assert_eq!(confirmed("pm_card_chargeDeclinedLostCard"), declined(NOTHING_TOLD, "lost_card"));
}

#[test]
fn every_test_name_that_asks_its_customer_ends_as_its_challenge_does() {
    for (name, then) in ASKING {
        assert_eq!(confirmed(name), Ok(Standing::ActionRequired), "{name}");
        let seen = intent(name, IntentStatus::Asks);
        let asks = seen.intent.as_ref().expect("an intent");
        assert_eq!(look(&seen), Ok(Standing::ActionRequired), "a look ends no challenge");
        let ended = |outcome| after(asks, outcome).expect("it waits");
        let expected = match then {
            None => (IntentStatus::Succeeded, None),
            Some(code) => (IntentStatus::Declined, Some((*code).to_owned())),
        };
        assert_eq!(ended(Outcome::Succeeds), expected, "{name}");
        assert_eq!(ended(Outcome::Fails).0, IntentStatus::Declined, "{name}");
        let failed = look(&intent(name, IntentStatus::Declined));
        assert!(matches!(failed, Ok(Standing::Declined(_))), "{name}: {failed:?}");
    }
    let failed = look(&intent("pm_card_authenticationRequired", IntentStatus::Declined));
    assert_eq!(failed, declined("authentication_required", "payment_intent_authentication_failure"));
    for status in [IntentStatus::Unconfirmed, IntentStatus::Succeeded, IntentStatus::Cancelled] {
        let seen = intent("pm_card_authenticationRequired", status);
        assert_eq!(after(seen.intent.as_ref().expect("an intent"), Outcome::Succeeds), None);
    }
}

#[test]
fn only_a_customer_who_is_waited_for_gets_the_secret() {
    let secret = |status| {
        let call = Call::Look { intent: "pi".into() };
        read_secret(&decision(&call, &intent("pm_card_authenticationRequired", status)).answer).expect("an answer")
    };
    assert_eq!(secret(IntentStatus::Asks).as_deref(), Some("pi_secret_s"));
    assert_eq!(secret(IntentStatus::Succeeded), None);
}

#[test]
fn what_a_bank_works_on_ends_when_it_is_looked_at() {
    for (name, expected) in [
        ("pm_sandbox_processing", Ok(Standing::Captured)),
        ("pm_sandbox_processingFail", declined("card_declined", "generic_decline")),
    ] {
        assert_eq!(confirmed(name), Ok(Standing::Processing));
        assert_eq!(look(&intent(name, IntentStatus::Works)), expected);
        let cancel = decision(&Call::Cancel { intent: "pi".into() }, &intent(name, IntentStatus::Works));
        assert_eq!(read_intent(&cancel.answer, &asked()), expected, "the bank was first");
    }
}

#[test]
fn another_payment_method_pays_what_the_first_one_did_not() {
    for status in [IntentStatus::Asks, IntentStatus::Declined] {
        let decision = decision(&confirm("pm_card_visa"), &intent("pm_card_authenticationRequired", status));
        assert_eq!(read_intent(&decision.answer, &asked()), Ok(Standing::Captured));
        let Change::Move { intent, to, declined } = decision.change else { panic!("it moves") };
        assert_eq!(
            (intent.payment_method.as_str(), intent.status, to, declined),
            ("pm_card_visa", status, IntentStatus::Succeeded, None)
        );
    }
}

#[test]
fn every_customer_is_asked_while_the_sandbox_is_told_to() {
    for name in ["pm_card_visa", "pm_card_chargeDeclined"] {
        let seen = Seen { mode: Mode::Asks, ..intent(name, IntentStatus::Unconfirmed) };
        let asked_for = read_intent(&decision(&confirm(name), &seen).answer, &asked());
        assert_eq!(asked_for, Ok(Standing::ActionRequired), "{name}");
    }
    let asks = |name| after(intent(name, IntentStatus::Asks).intent.as_ref().expect("an intent"), Outcome::Succeeds);
    assert_eq!(asks("pm_card_visa"), Some((IntentStatus::Succeeded, None)));
    assert_eq!(asks("pm_card_chargeDeclined"), Some((IntentStatus::Declined, Some("generic_decline".into()))));
}

fn look(seen: &Seen) -> Result<Standing, ProviderError> {
    read_intent(&decision(&Call::Look { intent: "pi".into() }, seen).answer, &asked())
}

#[test]
fn every_decline_code_of_stripe_can_be_tried() {
    for (code, _, told) in DECLINES {
        let name = format!("{DECLINED_WITH}{code}");
        assert_eq!(confirmed(&name), declined(told, code));
        // A look says the same as the answer that got lost.
        let look = Call::Look { intent: "pi".into() };
        let seen = intent(&name, IntentStatus::Declined);
        assert_eq!(read_intent(&decision(&look, &seen).answer, &asked()), declined(told, code));
    }
}

#[test]
fn a_payment_method_that_nobody_knows_gets_no_intent() {
    for unknown in ["", "pm_card_visaa", "pm_1Nabc", "pm_card_chargeDeclinedX", "visa", "pm_sandbox_decline_x"] {
        let decision = decision(&create(unknown), &Seen::default());
        let expected =
            Decline { reason: "invalid_payment_method".into(), provider_code: Some("resource_missing".into()) };
        assert_eq!(read_created(&decision.answer, &asked()), Ok(Created::Declined(expected)), "{unknown}");
        assert_eq!((decision.change, decision.keep), (Change::Nothing, None));
    }
}

#[test]
fn an_amount_or_currency_that_stripe_refuses_is_refused() {
    for (amount, currency, reason) in [
        (1, "EUR", "amount_too_small"),
        (1_000_000_000_000, "EUR", "amount_too_large"),
        (100, "IRR", "currency_not_supported"),
    ] {
        let money = Money::new(amount, currency.parse().expect("a currency"));
        let call = Call::Create { charge: Charge { money, ..charge("pm_card_visa") }, key: "key".into() };
        let created = read_created(&decision(&call, &Seen::default()).answer, &asked());
        assert!(matches!(created, Ok(Created::Declined(decline)) if decline.reason == reason), "{reason}");
    }
}

#[test]
fn the_same_key_gets_the_same_answer_a_failure_too() {
    let seen = intent("pm_card_visa", IntentStatus::Unconfirmed);
    let failed = decision(&confirm("pm_card_visa"), &Seen { mode: Mode::Fails, ..seen.clone() });
    assert_eq!((failed.answer.status, &failed.change), (500, &Change::Nothing));
    let saved = Saved {
        request: failed.keep.expect("a failure is kept"),
        status: failed.answer.status,
        body: String::from_utf8(failed.answer.body.clone()).expect("text"),
    };
    // Stripe is well again, and the key is not.
    let again = decision(&confirm("pm_card_visa"), &Seen { saved: Some(saved.clone()), ..seen.clone() });
    assert_eq!(again, Decision { answer: failed.answer, change: Change::Nothing, keep: None });
    assert!(matches!(read_intent(&again.answer, &asked()), Err(ProviderError::Spent { .. })));
    // The look-up shows that nothing happened; another key charges.
    let look = decision(&Call::Look { intent: "pi".into() }, &seen);
    assert_eq!(read_intent(&look.answer, &asked()), Ok(Standing::Unconfirmed));
    assert_eq!(confirmed("pm_card_visa"), Ok(Standing::Captured));
}

#[test]
fn a_key_with_another_body_is_refused_and_changes_nothing() {
    let saved = Saved { request: "/v1/payment_intents amount=1".into(), status: 200, body: "{}".into() };
    for call in [create("pm_card_visa"), confirm("pm_card_visa"), refund()] {
        let seen = Seen { saved: Some(saved.clone()), ..intent("pm_card_visa", IntentStatus::Unconfirmed) };
        let refused = decision(&call, &seen);
        assert_eq!((refused.answer.status, refused.change, refused.keep), (400, Change::Nothing, None));
        assert!(matches!(read_created(&refused.answer, &asked()), Err(ProviderError::Spent { .. })));
    }
}

#[test]
fn a_key_in_use_and_too_many_requests_are_for_later() {
    assert_eq!(in_use().status, 409);
    assert!(matches!(read_intent(&in_use(), &asked()), Err(ProviderError::Later { .. })));
    let seen = Seen { mode: Mode::Limits, ..intent("pm_card_visa", IntentStatus::Unconfirmed) };
    let limited = decision(&confirm("pm_card_visa"), &seen);
    assert_eq!((limited.answer.status, limited.keep, limited.change), (429, None, Change::Nothing));
    for call in [create("pm_card_visa"), confirm("pm_card_visa"), refund()] {
        let busy = decision(&call, &Seen { mode: Mode::InUse, ..intent("pm_card_visa", IntentStatus::Unconfirmed) });
        assert_eq!((busy.answer, busy.keep, busy.change), (in_use(), None, Change::Nothing));
    }
    let later = read_intent(&limited.answer, &asked());
    assert!(matches!(later, Err(ProviderError::Later { retry_after_seconds: Some(2), .. })));
}

#[test]
fn an_intent_is_charged_or_cancelled_whichever_is_first() {
    let cancel = Call::Cancel { intent: "pi".into() };
    let after = |call: &Call, status| {
        let decision = decision(call, &intent("pm_card_visa", status));
        (read_intent(&decision.answer, &asked()).expect("final"), decision.change)
    };
    let unconfirmed = after(&cancel, IntentStatus::Unconfirmed);
    assert_eq!(unconfirmed.0, Standing::Cancelled);
    assert!(matches!(unconfirmed.1, Change::Move { to: IntentStatus::Cancelled, .. }));
    assert_eq!(after(&cancel, IntentStatus::Succeeded), (Standing::Captured, Change::Nothing));
    assert_eq!(after(&cancel, IntentStatus::Cancelled), (Standing::Cancelled, Change::Nothing));
    assert_eq!(after(&cancel, IntentStatus::Declined).0, Standing::Cancelled);
    assert_eq!(after(&confirm("pm_card_visa"), IntentStatus::Cancelled), (Standing::Cancelled, Change::Nothing));
    assert_eq!(after(&confirm("pm_card_visa"), IntentStatus::Succeeded), (Standing::Captured, Change::Nothing));
}

#[test]
fn refunds_succeed_at_once_or_later_or_fail_by_the_name_of_the_card() {
    let at_once = |name| decision(&refund(), &intent(name, IntentStatus::Succeeded));
    let looked = |name, status| {
        let decision = decision(&Call::LookAtRefund { reference: "re".into() }, &refunded(name, status));
        read_refund(&decision.answer, &asked()).expect("final").state
    };
    let state = |name| read_refund(&at_once(name).answer, &asked()).map(|given| given.state);
    let failed = GivenState::Failed { code: "expired_or_canceled_card".into() };
    assert_eq!(state("pm_card_visa"), Ok(GivenState::Succeeded));
    assert_eq!(looked("pm_card_visa", RefundStatus::Succeeded), GivenState::Succeeded);
    assert_eq!(state(PENDING_REFUND), Ok(GivenState::Pending));
    assert_eq!(looked(PENDING_REFUND, RefundStatus::Pending), GivenState::Succeeded);
    assert_eq!(state(REFUND_FAILS), Ok(GivenState::Succeeded));
    assert_eq!(looked(REFUND_FAILS, RefundStatus::Succeeded), failed);
    assert_eq!(state(PENDING_REFUND_FAILS), Ok(GivenState::Pending));
    assert_eq!(looked(PENDING_REFUND_FAILS, RefundStatus::Pending), failed);
}

#[test]
fn a_bank_works_on_every_refund_while_the_sandbox_is_told_so() {
    let seen = Seen { mode: Mode::Refunds, ..intent("pm_card_visa", IntentStatus::Succeeded) };
    let pending = read_refund(&decision(&refund(), &seen).answer, &asked());
    assert_eq!(pending.map(|given| given.state), Ok(GivenState::Pending));
    let looked = decision(
        &Call::LookAtRefund { reference: "re".into() },
        &Seen { mode: Mode::Refunds, ..refunded("pm_card_visa", RefundStatus::Pending) },
    );
    assert_eq!(looked.change, Change::Nothing, "nobody but the bank ends it");
}

#[test]
fn a_disputed_charge_is_not_refunded() {
    let refused = decision(&refund(), &intent(DISPUTED, IntentStatus::Succeeded));
    assert_eq!(refused.change, Change::Nothing);
    let expected = Err(ProviderError::Refused { code: "charge_disputed".into() });
    assert_eq!(read_refund(&refused.answer, &asked()), expected);
}

#[test]
fn a_second_refund_finds_the_first() {
    let seen = refunded("pm_card_visa", RefundStatus::Succeeded);
    let again = decision(&refund(), &seen);
    assert_eq!(again.change, Change::Nothing);
    assert!(matches!(read_refund(&again.answer, &asked()), Err(ProviderError::Refused { .. })));
    let list = decision(&Call::ListRefunds { intent: "pi".into() }, &seen);
    let expected = Given { reference: "re".into(), state: GivenState::Succeeded };
    assert_eq!(read_refunds(&list.answer, &asked()), Ok(Some(expected)));
    let none = decision(&Call::ListRefunds { intent: "pi".into() }, &intent("pm_card_visa", IntentStatus::Succeeded));
    assert_eq!(read_refunds(&none.answer, &asked()), Ok(None));
    let unpaid = decision(&refund(), &intent("pm_card_visa", IntentStatus::Declined));
    assert_eq!(unpaid.change, Change::Nothing);
}

/// Every state of an intent, with every kind of card that can have brought it there.
fn intents() -> Vec<(&'static str, IntentStatus)> {
    use IntentStatus::{Asks, Cancelled, Declined, Succeeded, Unconfirmed, Works};
    let cards = [
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_card_authenticationRequired",
        "pm_sandbox_processing",
        "pm_sandbox_processingFail",
    ];
    let states = [Unconfirmed, Asks, Works, Succeeded, Declined, Cancelled];
    cards.into_iter().flat_map(|card| states.map(|status| (card, status))).collect()
}

#[test]
fn the_payment_of_an_ended_order_ends_wherever_its_intent_is() {
    use crate::domain::{Cancellation, Next, Seen as Rows, Status};
    for (card, begun) in intents() {
        for paid in [Status::Pending, Status::RequiresAction, Status::Processing, Status::Declined] {
            let mut seen = intent(card, begun);
            let cancelled = Some(Cancellation::Cancelled);
            let mut rows = Rows { payment: Some(paid), intent: true, closed: false, refund_taken: false, cancelled };
            // What the handler of the order's end does, or the timer.
            for _ in 0..3 {
                if rows.next() != Next::Cancel {
                    break;
                }
                let cancel = decision(&Call::Cancel { intent: "pi".into() }, &seen);
                if let Change::Move { intent, to, .. } = cancel.change {
                    seen.intent = Some(Intent { status: to, ..intent });
                }
                let standing = read_intent(&cancel.answer, &asked()).expect("an answer");
                if rows.closes(&standing) {
                    rows.closed = true;
                } else {
                    rows.payment = rows.stands(&standing).or(rows.payment);
                }
            }
            let ended = match rows.payment {
                Some(Status::Cancelled | Status::RefundPending) => true,
                Some(Status::Declined) => rows.closed,
                _ => false,
            };
            assert!(ended, "{card} {begun:?} {paid}: {rows:?}");
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    let (name, intent) = ("pi".to_owned(), "pi".to_owned());
    prop_oneof![
        Just(create("pm_card_visa")),
        sample::select(vec![
            "pm_card_visa",
            "pm_card_chargeDeclined",
            "pm_card_authenticationRequired",
            "pm_sandbox_processing"
        ])
        .prop_map(confirm),
        Just(Call::Cancel { intent }),
        Just(refund()),
        Just(Call::Look { intent: name }),
    ]
}

proptest! {
    /// Whatever is called in whatever order and mode, an intent is charged once at most, and never after it was cancelled.
    #[test]
    fn an_intent_is_charged_once_at_most(calls in proptest::collection::vec((call(), 0..5_u8), 0..20)) {
        let mut seen = intent("pm_card_visa", IntentStatus::Unconfirmed);
        let (mut charges, mut refunds, mut cancelled) = (0_usize, 0_usize, false);
        for (call, mode) in calls {
            seen.mode = [Mode::Normal, Mode::Normal, Mode::Slow, Mode::Fails, Mode::Limits][usize::from(mode)];
            let change = decide(&call, &seen, &Id::new().to_string()).change;
            match change {
                Change::Move { intent, to, declined } => {
                    prop_assert!(!cancelled && charges == 0, "{:?} → {to:?}", intent.status);
                    prop_assert_eq!(declined.is_some(), to == IntentStatus::Declined);
                    charges += usize::from(to == IntentStatus::Succeeded);
                    cancelled |= to == IntentStatus::Cancelled;
                    seen.intent = Some(Intent { status: to, ..intent });
                }
                Change::Refund { refund, status, .. } => {
                    refunds += 1;
                    seen.refund = Some(RefundEntry { reference: refund, status });
                }
                Change::Nothing | Change::Create { .. } | Change::MoveRefund { .. } => {}
            }
        }
        prop_assert!(charges <= 1 && refunds <= charges);
    }
}
