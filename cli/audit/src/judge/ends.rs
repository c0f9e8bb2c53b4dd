//! 4. After the last fault every order reaches an end state, with no hand on it.

use super::super::report::Invariant;
use super::super::snapshot::Held;
use super::Rules;
use super::books::{Books, Stand};

/// An order has reached its end when its status says so and it holds nothing back any longer.
pub(super) fn judge(books: &Books<'_>, rules: &Rules) -> Invariant {
    let orders = &books.snapshot.orders;
    let mut verdict = Invariant::new(4, "every order reaches an end state", "orders", orders.len());
    for order in orders {
        let (status, age) = (&order.status, books.age_s(order.id));
        match order.stand() {
            Stand::Open => {
                let what = format!("is {status}, and nothing happened to it for {age:.0} s");
                verdict.unless_under_way(order.id, what, age, rules.grace_s);
            }
            Stand::Void if books.reservations(order.id).iter().any(|held| held.state == Held::Open) => {
                let what = format!("is {status}, but its reservation is open");
                verdict.unless_under_way(order.id, what, age, rules.grace_s);
            }
            Stand::Void | Stand::Confirmed => {}
        }
    }
    verdict
}
