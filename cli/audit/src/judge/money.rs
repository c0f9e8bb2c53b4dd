//! 5. A payment of an order that did not become `confirmed` is refunded or voided, exactly once. A charge that the
//!    provider made and nobody recorded counts as a fault.

use uuid::Uuid;

use super::super::report::Invariant;
use super::super::snapshot::{LedgerRow, OrderRow, PaymentRow};
use super::Rules;
use super::books::{Books, Stand};

pub(super) fn judge(books: &Books<'_>, rules: &Rules) -> Invariant {
    let payments = &books.snapshot.payments;
    let promise = "money: what wasn't confirmed goes back once, no charge unrecorded";
    let mut verdict = Invariant::new(5, promise, "payments", payments.len());
    for payment in payments {
        if let Some(order) = books.order(payment.order_id) {
            for fault in faults_of(books, rules, order, payment) {
                verdict.unless_under_way(payment.id, fault, books.age_s(order.id), rules.grace_s);
            }
        }
    }
    for order in &books.snapshot.orders {
        judge_ledger(books, order, rules, &mut verdict);
    }
    verdict
}

/// What is wrong between an order and what payment recorded of it.
fn faults_of(books: &Books<'_>, rules: &Rules, order: &OrderRow, payment: &PaymentRow) -> Vec<String> {
    let refunds = books.refunds(payment.id);
    let (id, status) = (order.id, &order.status);
    let mut faults = Vec::new();
    match (order.stand(), payment.status.as_str()) {
        // Never without a person, whatever became of the order.
        (_, "needs_attention") => faults.push("needs a person: docs/payments.md says what to do".to_owned()),
        (Stand::Open, _) | (Stand::Void, "declined" | "cancelled" | "refunded") | (Stand::Confirmed, "captured") => {}
        // A bank may take days. The timer asks it.
        (Stand::Void, "refund_pending") if refunds.iter().any(|refund| refund.status == "pending" && refund.taken) => {}
        (Stand::Void, "processing") if rules.may_wait && payment.will_ask => {}
        (Stand::Void, "captured") => faults.push(format!("was captured, and order {id} is {status}")),
        // Whether a confirmed order is paid is the second invariant's matter; that nothing went back is this one's.
        (Stand::Confirmed, "refunded" | "refund_pending") => {
            faults.push(format!("goes back, and order {id} is {status}"));
        }
        (Stand::Confirmed, _) => {}
        (Stand::Void, unfinished) => faults.push(format!("is {unfinished}, and order {id} is {status}")),
    }
    let succeeded: Vec<_> = refunds.iter().filter(|refund| refund.status == "succeeded").collect();
    match (payment.status.as_str(), succeeded.as_slice()) {
        ("refunded", [refund]) if (refund.amount, &refund.currency) == (payment.amount, &payment.currency) => {}
        ("refunded", [refund]) => {
            let (back, currency) = (refund.amount, &refund.currency);
            faults.push(format!("of {} {} was refunded with {back} {currency}", payment.amount, payment.currency));
        }
        ("refunded", all) => faults.push(format!("is refunded {} times", all.len())),
        (_, []) => {}
        (other, all) => faults.push(format!("is {other}, but refunded {} times", all.len())),
    }
    faults
}

/// What is wrong between an order and the provider's own books.
fn judge_ledger(books: &Books<'_>, order: &OrderRow, rules: &Rules, verdict: &mut Invariant) {
    let entries = books.ledger(order.id);
    let age = books.age_s(order.id);
    let charges: Vec<&LedgerRow> =
        entries.iter().copied().filter(|row| row.gives_back.is_none() && !row.declined).collect();
    if charges.len() > 1 {
        verdict.never(order.id, format!("was charged {} times by the provider", charges.len()));
    }
    for charge in &charges {
        let back: Vec<i64> = entries
            .iter()
            .filter(|row| row.gives_back.as_ref() == Some(&charge.reference))
            .map(|row| row.amount)
            .collect();
        for fault in faults_of_charge(books, order, charge, &back) {
            verdict.unless_under_way(order.id, fault, age, rules.grace_s);
        }
        if back.len() > 1 {
            verdict.never(order.id, format!("got its charge {} back {} times", charge.reference, back.len()));
        }
    }
    for payment in books.payments(order.id).iter().filter(|payment| asked_sandbox(payment) && charges.is_empty()) {
        let what = format!("is {}, but the provider has no charge of it", payment.status);
        verdict.unless_under_way(payment.id, what, age, rules.grace_s);
    }
}

/// Whether the sandbox must know a charge of this payment.
fn asked_sandbox(payment: &PaymentRow) -> bool {
    payment.provider == "sandbox"
        && matches!(payment.status.as_str(), "captured" | "refund_pending" | "refunded" | "needs_attention")
}

fn faults_of_charge(books: &Books<'_>, order: &OrderRow, charge: &LedgerRow, back: &[i64]) -> Vec<String> {
    let LedgerRow { reference, amount, .. } = charge;
    let (status, id): (&str, Uuid) = (&order.status, order.id);
    let mut faults = Vec::new();
    if (*amount, &charge.currency) != (order.total, &order.currency) {
        faults.push(format!("costs {} {}, but {amount} {} were charged", order.total, order.currency, charge.currency));
    }
    let recorded = books.payments(id).iter().any(|payment| asked_sandbox(payment));
    if !recorded && order.stand() != Stand::Open {
        faults.push(format!("was charged ({reference}), and nobody recorded it"));
    }
    match (order.stand(), back) {
        // The fault of the payment itself says that a person has to look at it.
        (Stand::Void, []) if books.payments(id).iter().any(|payment| payment.status == "needs_attention") => {}
        (Stand::Void, []) => faults.push(format!("is {status}, but its charge {reference} was never given back")),
        (Stand::Confirmed, [_, ..]) => faults.push(format!("is {status}, but its charge {reference} was given back")),
        (_, [given, ..]) if given != amount => {
            faults.push(format!("was charged {amount} and given back {given}"));
        }
        _ => {}
    }
    faults
}
