//! 1. An order that was answered with 2xx exists, once per idempotency key.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::super::report::Invariant;
use super::super::snapshot::OrderRow;
use super::Rules;
use super::books::Books;

pub(super) fn judge(books: &Books<'_>, rules: &Rules) -> Invariant {
    let orders = &books.snapshot.orders;
    let mut verdict = Invariant::new(1, "every answered order exists, whole and once per key", "orders", orders.len());
    once_per_key(orders, &mut verdict);
    whole(books, rules, &mut verdict);
    answered(books, rules, &mut verdict);
    no_strangers(books, rules, &mut verdict);
    verdict
}

fn once_per_key(orders: &[OrderRow], verdict: &mut Invariant) {
    let mut first: HashMap<(&str, &str), Uuid> = HashMap::new();
    for order in orders {
        if let Some(other) = first.insert((&order.customer, &order.key), order.id) {
            verdict.never(order.id, format!("has the same customer and idempotency key as {other}"));
        }
    }
}

/// An order is written with its lines in one transaction.
fn whole(books: &Books<'_>, rules: &Rules, verdict: &mut Invariant) {
    let known: HashSet<&str> = books.snapshot.known_skus.iter().map(String::as_str).collect();
    for order in &books.snapshot.orders {
        match order.lines_total {
            None => verdict.never(order.id, "has no lines"),
            Some(lines) if lines != order.total => {
                verdict.never(order.id, format!("costs {}, but its lines cost {lines}", order.total));
            }
            Some(_) => {}
        }
        for demand in books.demands(order.id).iter().filter(|demand| !known.contains(demand.sku.as_str())) {
            let what = format!("is for {}, which no product has", demand.sku);
            verdict.unless_under_way(order.id, what, order.age_s, rules.grace_s);
        }
    }
}

/// What clients were told, and what a client would be told that repeats its key.
fn answered(books: &Books<'_>, rules: &Rules, verdict: &mut Invariant) {
    let stored = books.snapshot.answers.iter().map(|answer| (answer.order_id, None));
    let told = rules.answered.iter().map(|answer| (answer.id, answer.key.as_deref()));
    let mut missing = HashSet::new();
    for (id, key) in stored.chain(told) {
        let Some(order) = books.order(id) else {
            if missing.insert(id) {
                verdict.never(id, "was answered to a client, and doesn't exist");
            }
            continue;
        };
        if let Some(key) = key.filter(|key| order.key != *key) {
            verdict.never(id, format!("was answered to the key {key}, but was placed under {}", order.key));
        }
    }
}

/// Nobody acts for an order that doesn't exist: its event is published only if it does.
fn no_strangers(books: &Books<'_>, rules: &Rules, verdict: &mut Invariant) {
    let paid = books.snapshot.payments.iter().map(|row| (row.order_id, "a payment"));
    let charged = books.snapshot.ledger.iter().map(|row| (row.order_id, "an entry in the provider's books"));
    let held = books.snapshot.reservations.iter().map(|row| (row.order_id, "a reservation"));
    let sold = books.snapshot.sales.iter().map(|row| (row.order_id, "sold stock"));
    let mut seen = HashSet::new();
    for (id, what) in paid.chain(charged).chain(held).chain(sold) {
        if books.order(id).is_none() && seen.insert((id, what)) {
            verdict.unless_under_way(id, format!("has {what}, and doesn't exist"), books.age_s(id), rules.grace_s);
        }
    }
}
