//! 2. `confirmed` if and only if exactly one captured payment of exactly the order's total, and its reservation turned
//!    into sold stock exactly once.

use std::collections::BTreeMap;

use super::super::report::Invariant;
use super::super::snapshot::{Held, OrderRow, PaymentRow};
use super::Rules;
use super::books::{Books, Stand};

pub(super) fn judge(books: &Books<'_>, rules: &Rules) -> Invariant {
    let orders = &books.snapshot.orders;
    let mut verdict =
        Invariant::new(2, "confirmed: paid once and in full, sold once; and only then", "orders", orders.len());
    for order in orders {
        let mut faults = Vec::new();
        if order.stand() == Stand::Confirmed {
            is_paid(books, order, &mut faults);
        }
        is_sold_as_it_should(books, order, &mut faults);
        for fault in faults {
            verdict.unless_under_way(order.id, fault, books.age_s(order.id), rules.grace_s);
        }
    }
    verdict
}

fn is_paid(books: &Books<'_>, order: &OrderRow, faults: &mut Vec<String>) {
    let captured: Vec<&&PaymentRow> =
        books.payments(order.id).iter().filter(|payment| payment.status == "captured").collect();
    let [payment] = captured.as_slice() else {
        faults.push(format!("is {} with {} captured payments", order.status, captured.len()));
        return;
    };
    if (payment.amount, &payment.currency) != (order.total, &order.currency) {
        let (paid, currency) = (payment.amount, &payment.currency);
        faults.push(format!("costs {} {}, but {paid} {currency} were captured", order.total, order.currency));
    }
    if order.payment_id != Some(payment.id) {
        faults.push(format!("doesn't name the payment {} that was captured for it", payment.id));
    }
}

/// Confirmed: the reservation is sold, and the ledger of movements has each SKU going out once, as many as demanded.
/// Otherwise nothing is out of the house, whatever went out and came back.
fn is_sold_as_it_should(books: &Books<'_>, order: &OrderRow, faults: &mut Vec<String>) {
    let confirmed = order.stand() == Stand::Confirmed;
    match (confirmed, books.reservations(order.id)) {
        (true, [reservation]) if reservation.state == Held::Sold => {}
        (true, []) => faults.push(format!("is {} without a reservation", order.status)),
        (true, [_]) => faults.push(format!("is {}, but its reservation was not sold", order.status)),
        (false, held) if held.len() <= 1 && held.iter().all(|one| one.state != Held::Sold) => {}
        (false, [_]) => faults.push(format!("is {}, but its reservation was sold", order.status)),
        (_, held) => faults.push(format!("has {} reservations", held.len())),
    }
    let mut skus: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for demand in books.demands(order.id).iter().filter(|_| confirmed) {
        skus.entry(&demand.sku).or_default().0 += demand.pieces;
    }
    for sale in books.sales(order.id) {
        let entry = skus.entry(&sale.sku).or_default();
        (entry.1, entry.2) = (entry.1 + sale.pieces, entry.2 + sale.times);
    }
    for (sku, (wanted, sold, times)) in skus {
        if wanted != sold || times > 1 {
            let status = &order.status;
            faults.push(format!("is {status}: {sold} pieces of {sku} were sold in {times} times, {wanted} should be"));
        }
    }
}
