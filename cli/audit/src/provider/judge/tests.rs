use super::*;
use crate::provider::Returned;

const NOW: f64 = 1_000_000.0;

fn order() -> Uuid {
    Uuid::from_u128(7)
}

fn payment(status: &str) -> Payment {
    let (id, order_id, status, currency) = (Uuid::from_u128(8), order(), status.into(), "EUR".into());
    let (closed, ask_in_s) = (false, None);
    Payment { id, order_id, status, amount: 500, currency, age_s: 1000.0, closed, ask_in_s, refund: None }
}

fn returned(status: &str, reference: Option<&str>) -> Returned {
    let reference = reference.map(Into::into);
    Returned { status: status.into(), amount: 500, currency: "EUR".into(), reference, ask_in_s: None }
}

fn refunded() -> Payment {
    Payment { refund: Some(returned("succeeded", Some("re_1"))), ..payment("refunded") }
}

fn intent(status: &str) -> Intent {
    let received = if status == "succeeded" { 500 } else { 0 };
    let (reference, order_id, status) = ("pi_1".into(), Some(order()), status.into());
    Intent { reference, order_id, status, amount: 500, received, currency: "eur".into(), created: NOW - 1000.0 }
}

fn refund(reference: &str, status: &str, amount: i64) -> Refund {
    let (order_id, status, currency) = (Some(order()), status.into(), "eur".into());
    Refund { reference: reference.into(), order_id, status, amount, currency, created: NOW - 1000.0 }
}

fn found(compare: impl FnOnce(&mut Judge<'_>)) -> Vec<(Kind, String, bool)> {
    let mut found = Vec::new();
    let mut tell = |difference: Difference| {
        assert!(!difference.what.is_empty() && !difference.to_string().is_empty());
        found.push((difference.kind, difference.reference, difference.in_flight));
    };
    compare(&mut Judge::new("stripe", super::super::stripe_units, NOW, 10.0, &mut tell));
    found
}

fn of(payment: Option<Payment>, intent: Option<Intent>, refunds: Vec<Refund>) -> Vec<(Kind, String, bool)> {
    found(|judge| assert!(judge.group(Group { payments: Vec::from_iter(payment), intent, refunds }).is_none()))
}

#[test]
fn what_both_say_alike_is_no_difference() {
    let unpaid = ["requires_confirmation", "requires_payment_method", "requires_action", "canceled", "processing"];
    for theirs in unpaid {
        assert_eq!(of(Some(payment("pending")), Some(intent(theirs)), vec![]), [], "{theirs}");
        assert_eq!(of(Some(payment("declined")), Some(intent(theirs)), vec![]), [], "{theirs}");
    }
    assert_eq!(of(Some(payment("cancelled")), Some(intent("canceled")), vec![]), []);
    assert_eq!(of(Some(payment("captured")), Some(intent("succeeded")), vec![]), []);
    let open = Payment { refund: Some(returned("pending", None)), ..payment("refund_pending") };
    assert_eq!(of(Some(open), Some(intent("succeeded")), vec![]), []);
    let taken = Payment { refund: Some(returned("pending", Some("re_1"))), ..payment("refund_pending") };
    for theirs in ["pending", "requires_action"] {
        assert_eq!(of(Some(taken.clone()), Some(intent("succeeded")), vec![refund("re_1", theirs, 500)]), []);
    }
    // An earlier try failed.
    let tries = vec![refund("re_0", "failed", 500), refund("re_1", "succeeded", 500)];
    assert_eq!(of(Some(refunded()), Some(intent("succeeded")), tries), []);
    let failed = Payment { refund: Some(returned("failed", Some("re_1"))), ..payment("needs_attention") };
    assert_eq!(of(Some(failed), Some(intent("succeeded")), vec![refund("re_1", "failed", 500)]), []);
    let by_hand = Payment { refund: Some(returned("succeeded", Some(BY_HAND))), ..payment("refunded") };
    for in_the_dashboard in ["failed", "pending", "succeeded"] {
        let refunds = vec![refund("re_0", "failed", 500), refund("re_1", in_the_dashboard, 500)];
        assert_eq!(of(Some(by_hand.clone()), Some(intent("succeeded")), refunds), [], "{in_the_dashboard}");
    }
    let twice = vec![refund("re_0", "succeeded", 500), refund("re_1", "succeeded", 500)];
    let found = of(Some(by_hand), Some(intent("succeeded")), twice);
    assert_eq!(found, [(Kind::RefundSum, "pi_1".into(), false)], "a hand gives back no more than was charged");
}

#[test]
fn a_status_that_the_other_side_does_not_have_is_told() {
    for paid in ["captured", "refund_pending", "refunded", "needs_attention"] {
        let found = of(Some(payment(paid)), Some(intent("canceled")), vec![]);
        assert_eq!(found, [(Kind::Status, "pi_1".into(), false)], "{paid}");
    }
    for unpaid in ["pending", "declined", "cancelled", "requires_action"] {
        let found = of(Some(payment(unpaid)), Some(intent("succeeded")), vec![]);
        assert_eq!(found, [(Kind::Status, "pi_1".into(), false)], "{unpaid}");
    }
    let payable = of(Some(payment("cancelled")), Some(intent("requires_confirmation")), vec![]);
    assert_eq!(payable, [(Kind::Status, "pi_1".into(), false)], "somebody could pay it");
}

#[test]
fn a_refund_that_nobody_has_is_told_though_the_row_of_it_is_gone() {
    let sum = [(Kind::RefundSum, "pi_1".to_owned(), false)];
    assert_eq!(of(Some(payment("refunded")), Some(intent("succeeded")), vec![]), sum);
    let failed = vec![refund("re_1", "failed", 500)];
    assert_eq!(of(Some(payment("refunded")), Some(intent("succeeded")), failed), sum);
    let found = of(Some(payment("refunded")), Some(intent("succeeded")), vec![refund("re_1", "succeeded", 500)]);
    assert_eq!(found, [(Kind::MissingHere, "re_1".into(), false)], "the money is back, and its row is gone");
}

#[test]
fn a_declined_payment_whose_intent_is_closed_here_can_not_be_paid_there() {
    let closed = || Some(Payment { closed: true, ..payment("declined") });
    for theirs in ["requires_payment_method", "requires_action", "requires_confirmation", "processing"] {
        assert_eq!(of(closed(), Some(intent(theirs)), vec![]), [(Kind::Status, "pi_1".into(), false)], "{theirs}");
    }
    assert_eq!(of(closed(), Some(intent("canceled")), vec![]), []);
}

#[test]
fn a_payment_that_waits_hears_of_its_end_or_it_is_told() {
    for ours in ["requires_action", "processing"] {
        let waits = |ask_in_s| Some(Payment { ask_in_s, ..payment(ours) });
        assert_eq!(of(waits(None), Some(intent(ours)), vec![]), []);
        for theirs in ["canceled", "requires_payment_method", "succeeded"] {
            let found = |ask_in_s| of(waits(ask_in_s), Some(intent(theirs)), vec![]);
            assert_eq!(found(None), [(Kind::Status, "pi_1".into(), false)], "{ours} {theirs}: nobody asks");
            assert_eq!(found(Some(-3000.0)), [(Kind::Status, "pi_1".into(), false)], "it should have asked");
            assert_eq!(found(Some(3000.0)), [(Kind::Status, "pi_1".into(), true)], "it will");
        }
    }
}

#[test]
fn two_payments_of_one_intent_are_told_whichever_is_read_first() {
    let right = payment("captured");
    let wrong = Payment { id: Uuid::from_u128(18), order_id: Uuid::from_u128(17), ..payment("captured") };
    for payments in [vec![right.clone(), wrong.clone()], vec![wrong.clone(), right.clone()]] {
        let told = |intent: Option<Intent>| {
            let mut ids = Vec::new();
            let mut tell = |difference: Difference| ids.push((difference.kind, difference.payment_id));
            let mut judge = Judge::new("stripe", super::super::stripe_units, NOW, 10.0, &mut tell);
            assert!(judge.group(Group { payments: payments.clone(), intent, refunds: vec![] }).is_none());
            ids
        };
        assert_eq!(told(Some(intent("succeeded"))), [(Kind::Order, Some(wrong.id))], "only the wrong one");
        assert_eq!(told(None).len(), 2, "one is doubled, and there is no intent");
    }
}

#[test]
fn what_is_young_on_one_side_is_in_flight() {
    let young = Payment { age_s: 1.0, ..payment("pending") };
    assert_eq!(of(Some(young), Some(intent("succeeded")), vec![]), [(Kind::Status, "pi_1".into(), true)]);
    let made_now = Intent { created: NOW - 1.0, ..intent("succeeded") };
    assert_eq!(of(Some(payment("pending")), Some(made_now.clone()), vec![]), [(Kind::Status, "pi_1".into(), true)]);
    let unlisted = Payment { age_s: 1.0, ..payment("captured") };
    assert_eq!(of(Some(unlisted), None, vec![]), [(Kind::MissingAtProvider, "its intent".into(), true)]);
    // An amount never changes by itself.
    let young = Payment { age_s: 1.0, amount: 400, ..payment("captured") };
    assert_eq!(of(Some(young), Some(made_now), vec![]), [(Kind::Amount, "pi_1".into(), false)]);
}

#[test]
fn what_one_side_lacks_is_told() {
    assert_eq!(of(Some(payment("captured")), None, vec![]), [(Kind::MissingAtProvider, "its intent".into(), false)]);
    assert_eq!(
        of(Some(refunded()), Some(intent("succeeded")), vec![]),
        [(Kind::MissingAtProvider, "re_1".into(), false)]
    );
    let by_a_stranger = of(Some(payment("captured")), Some(intent("succeeded")), vec![refund("re_9", "pending", 100)]);
    assert_eq!(by_a_stranger, [(Kind::MissingHere, "re_9".into(), false)], "made in the provider's dashboard");
    assert_eq!(of(None, None, vec![refund("re_1", "succeeded", 500)]), [(Kind::MissingHere, "re_1".into(), false)]);
}

#[test]
fn amounts_and_currencies_are_compared_in_the_providers_units() {
    let differs = |amount, currency: &str, intent: Intent| {
        let payment = Payment { amount, currency: currency.into(), ..payment("captured") };
        of(Some(payment), Some(intent), vec![]).into_iter().map(|(kind, ..)| kind).collect::<Vec<_>>()
    };
    let intent_of = |amount, currency: &str| {
        let (received, currency) = (amount, currency.into());
        Intent { amount, received, currency, ..intent("succeeded") }
    };
    assert_eq!(differs(5, "ISK", intent_of(500, "isk")), []);
    assert_eq!(differs(5, "ISK", intent_of(5, "isk")), [Kind::Amount]);
    assert_eq!(differs(500_000, "MGA", intent_of(5000, "mga")), []);
    assert_eq!(differs(500_020, "MGA", intent_of(5000, "mga")), [Kind::Amount]);
    assert_eq!(differs(501, "EUR", intent("succeeded")), [Kind::Amount]);
    assert_eq!(differs(500, "USD", intent("succeeded")), [Kind::Currency]);
    assert_eq!(differs(500, "EUR", Intent { received: 499, ..intent("succeeded") }), [Kind::Amount]);
    let refund_of_less = of(Some(refunded()), Some(intent("succeeded")), vec![refund("re_1", "succeeded", 499)]);
    let kinds: Vec<_> = refund_of_less.into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::Amount, Kind::RefundSum]);
    let twice = vec![refund("re_1", "succeeded", 500), refund("re_2", "succeeded", 1)];
    let kinds: Vec<_> =
        of(Some(refunded()), Some(intent("succeeded")), twice).into_iter().map(|(kind, ..)| kind).collect();
    assert!(kinds.contains(&Kind::RefundSum) && kinds.contains(&Kind::MissingHere), "{kinds:?}");
}

#[test]
fn a_refund_that_payment_will_ask_about_is_in_flight_and_another_is_not() {
    let taken = |ask_in_s| {
        let refund = Returned { ask_in_s, ..returned("pending", Some("re_1")) };
        Payment { refund: Some(refund), ..payment("refund_pending") }
    };
    let compare =
        |ask_in_s| of(Some(taken(ask_in_s)), Some(intent("succeeded")), vec![refund("re_1", "succeeded", 500)]);
    assert_eq!(compare(Some(3000.0)), [(Kind::Status, "re_1".into(), true)]);
    assert_eq!(compare(Some(-3000.0)), [(Kind::Status, "re_1".into(), false)], "it should have asked");
    assert_eq!(compare(None), [(Kind::Status, "re_1".into(), false)]);
    let sent_back = of(Some(refunded()), Some(intent("succeeded")), vec![refund("re_1", "failed", 500)]);
    assert_eq!(sent_back, [(Kind::Status, "re_1".into(), false)], "a bank sent it back");
}

#[test]
fn an_intent_that_no_payment_names_is_an_attempt_or_a_charge_beside_the_books() {
    let unnamed = |intent: Intent, refunds, payment: Option<Payment>| {
        found(|judge| {
            let unnamed = judge.group(Group { payments: vec![], intent: Some(intent), refunds }).expect("of ours");
            judge.unnamed(&unnamed, payment.as_ref());
        })
    };
    let told = [(Kind::MissingHere, "pi_1".to_owned(), false)];
    assert_eq!(unnamed(intent("requires_confirmation"), vec![], Some(payment("captured"))), [], "a lost answer");
    assert_eq!(unnamed(intent("requires_confirmation"), vec![], None), told);
    assert_eq!(unnamed(intent("succeeded"), vec![], None), told);
    assert_eq!(unnamed(intent("succeeded"), vec![], Some(payment("captured"))), told, "charged twice");
    let back = vec![refund("re_1", "succeeded", 500)];
    assert_eq!(unnamed(intent("succeeded"), back, Some(payment("captured"))), [], "and given back");
}

#[test]
fn what_names_no_order_and_no_payment_is_not_ours() {
    let mut told = 0;
    let mut tell = |_| told += 1;
    let mut judge = Judge::new("stripe", super::super::stripe_units, NOW, 10.0, &mut tell);
    let strangers = Refund { order_id: None, ..refund("re_1", "succeeded", 500) };
    let intent = Intent { order_id: None, ..intent("succeeded") };
    let group = Group { payments: vec![], intent: Some(intent.clone()), refunds: vec![strangers.clone()] };
    assert!(judge.group(group).is_none());
    assert!(judge.group(Group { refunds: vec![strangers], ..Group::default() }).is_none());
    assert_eq!(judge.summary(&Counts::default(), 0).foreign, 3);
    // But one that a payment names is compared.
    let group = Group { payments: vec![payment("declined")], intent: Some(intent), refunds: vec![] };
    assert!(judge.group(group).is_none());
    assert_eq!((judge.differences, told), (1, 1));
}
