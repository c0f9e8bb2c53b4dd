//! What a client was told is so, and is so once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::Promise;
use crate::evidence::Placed;
use crate::record::{Call, Witness};

/// The orders in successful answers, by key.
fn told(witness: &Witness) -> BTreeMap<&str, BTreeSet<Uuid>> {
    let mut told: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
    for seen in witness.seen.iter().filter(|seen| seen.call == Call::Place && seen.is_success()) {
        if let (Some(key), Some(id)) = (&seen.key, seen.reply().and_then(|reply| reply.order)) {
            told.entry(key).or_default().insert(id);
        }
    }
    told
}

/// Every order that a client was told of stands in the database under the client's key, and what was told once was told
/// at every repetition.
pub(super) fn answered(witness: &Witness, placed: &[Placed]) -> Promise {
    let told = told(witness);
    let mut promise =
        Promise::new("every answered order exists, the same at every repetition of its key", told.len(), "keys");
    let rows: HashMap<Uuid, &Placed> = placed.iter().map(|row| (row.id, row)).collect();
    for (key, ids) in &told {
        if ids.len() > 1 {
            let names = ids.iter().map(ToString::to_string);
            promise.broken_by(
                std::iter::once((*key).to_owned()).chain(names),
                "one order under one key",
                "several answers, each with an order of its own",
            );
        }
        for id in ids {
            match rows.get(id) {
                Some(row) if row.key == *key => {}
                Some(row) => promise.broken_by(
                    [(*key).to_owned(), id.to_string()],
                    format!("the order stands under {key}"),
                    format!("it stands under {}", row.key),
                ),
                None => promise.broken_by([(*key).to_owned(), id.to_string()], "the order exists", "it does not"),
            }
        }
    }
    empty_answers(witness, &mut promise);
    unknown_orders(witness, &rows, &mut promise);
    promise
}

/// A success without an order in it tells a client nothing.
fn empty_answers(witness: &Witness, promise: &mut Promise) {
    for seen in witness.seen.iter().filter(|seen| seen.call == Call::Place && seen.is_success()) {
        if seen.reply().is_none_or(|reply| reply.order.is_none()) {
            promise.broken_by([&seen.about], "an order in the answer", seen.to_string());
        }
    }
}

/// A client that was told of an order finds it: these calls are made with ids from answers alone.
fn unknown_orders(witness: &Witness, rows: &HashMap<Uuid, &Placed>, promise: &mut Promise) {
    for seen in &witness.seen {
        let of_an_order = matches!(seen.call, Call::Order | Call::History | Call::Cancel);
        if of_an_order && seen.reply().is_some_and(|reply| reply.status == 404) {
            let there = Uuid::parse_str(&seen.about).is_ok_and(|id| rows.contains_key(&id));
            let now = if there { "; it is there now" } else { "" };
            promise.broken_by([&seen.about], "the order is found", format!("{seen}{now}"));
        }
    }
}

/// No key has two orders, whether or not anybody was told of them.
pub(super) fn once(witness: &Witness, placed: &[Placed]) -> Promise {
    let mut orders: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
    for row in placed {
        orders.entry(&row.key).or_default().push(row.id);
    }
    let sent: BTreeSet<&str> =
        witness.seen.iter().filter(|seen| seen.call == Call::Place).filter_map(|seen| seen.key.as_deref()).collect();
    let mut promise = Promise::new("no key has two orders, and no order came without a client", orders.len(), "orders");
    for (key, ids) in orders {
        if ids.len() > 1 {
            let names = ids.iter().map(ToString::to_string);
            promise.broken_by(
                std::iter::once(key.to_owned()).chain(names),
                "one order",
                format!("{} orders in the database", ids.len()),
            );
        }
        if !sent.contains(key) {
            promise.broken_by([key], "a client that sent this key", "an order that nobody placed");
        }
    }
    promise
}

#[cfg(test)]
mod tests {
    use super::super::clients::tests::{answer, seen};
    use super::*;
    use crate::record::{Outcome, Reply, Seen};

    fn placing(key: &str, id: Uuid) -> Seen {
        let reply = Reply { status: 202, order: Some(id), ..Reply::default() };
        Seen { key: Some(key.into()), outcome: Outcome::Answered(reply), ..seen(Call::Place, 1.0, 0.1) }
    }

    fn row(key: &str, id: Uuid) -> Placed {
        Placed { key: key.into(), id, status: "confirmed".into() }
    }

    fn witness(seen: Vec<Seen>) -> Witness {
        Witness { seen, ..Witness::default() }
    }

    #[test]
    fn what_was_answered_and_stands_there_is_well() {
        let id = Uuid::now_v7();
        let witness = witness(vec![placing("k", id), placing("k", id)]);
        let promise = answered(&witness, &[row("k", id)]);
        assert_eq!((promise.checked, promise.broken), (1, vec![]));
        assert_eq!(once(&witness, &[row("k", id)]).broken, []);
    }

    #[test]
    fn an_answered_order_that_is_lost_is_found_out() {
        let id = Uuid::now_v7();
        let promise = answered(&witness(vec![placing("k", id)]), &[]);
        assert_eq!(promise.broken[0].ids, ["k".to_owned(), id.to_string()]);
        assert_eq!(promise.broken[0].seen, "it does not");
    }

    #[test]
    fn a_repetition_that_makes_another_order_is_found_out() {
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let promise = answered(&witness(vec![placing("k", one), placing("k", two)]), &[row("k", one), row("k", two)]);
        assert_eq!(promise.broken.len(), 1);
        assert_eq!(promise.broken[0].ids.len(), 3);
    }

    #[test]
    fn an_order_under_another_key_is_found_out() {
        let id = Uuid::now_v7();
        let promise = answered(&witness(vec![placing("k", id)]), &[row("other", id)]);
        assert_eq!(promise.broken[0].seen, "it stands under other");
    }

    #[test]
    fn a_second_order_that_nobody_heard_of_is_found_out() {
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let promise = once(&witness(vec![placing("k", one)]), &[row("k", one), row("k", two)]);
        assert_eq!(promise.broken[0].seen, "2 orders in the database");
    }

    #[test]
    fn an_order_that_nobody_placed_is_found_out() {
        let promise = once(&witness(vec![]), &[row("k", Uuid::now_v7())]);
        assert_eq!(promise.broken[0].seen, "an order that nobody placed");
    }

    #[test]
    fn an_answered_order_that_a_read_does_not_find_is_found_out() {
        let id = Uuid::now_v7();
        let read = Seen { about: id.to_string(), outcome: answer(404), ..seen(Call::Order, 2.0, 0.1) };
        let promise = answered(&witness(vec![placing("k", id), read]), &[row("k", id)]);
        assert!(promise.broken[0].seen.ends_with("; it is there now"), "{promise:?}");
    }

    #[test]
    fn a_success_without_an_order_is_found_out() {
        let empty = Seen { outcome: answer(202), ..placing("k", Uuid::now_v7()) };
        assert_eq!(answered(&witness(vec![empty]), &[]).broken.len(), 1);
    }
}
