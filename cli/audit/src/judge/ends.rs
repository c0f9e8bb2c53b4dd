//! 4. After the last fault every order reaches an end state, with no hand on it.

use super::super::report::Invariant;
use super::super::snapshot::{Held, OrderRow};
use super::Rules;
use super::books::{Books, Stand};

/// An order has reached its end when its status says so and it holds nothing back any longer.
pub(super) fn judge(books: &Books<'_>, rules: &Rules) -> Invariant {
    let orders = &books.snapshot.orders;
    let mut verdict = Invariant::new(4, "every order reaches an end state", "orders", orders.len());
    for order in orders {
        let (status, age) = (&order.status, books.age_s(order.id));
        match order.stand() {
            Stand::Open if rules.may_wait && waits(books, order) => {
                verdict
                    .under_way(order.id, format!("is {status}, and waits for its customer or a bank until it expires"));
            }
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

/// Whether an order rightly waits: its payment says for whom, and it expires in time, as far as the databases tell.
fn waits(books: &Books<'_>, order: &OrderRow) -> bool {
    let asks = order.payment_state.as_deref();
    let payment_waits = books.payments(order.id).iter().any(|payment| {
        matches!(
            (payment.status.as_str(), asks),
            ("processing", _)
                | ("requires_action", Some("requires_action"))
                | ("declined", Some("requires_payment_method"))
        )
    });
    order.status == "reserved" && payment_waits && books.snapshot.expires && !order.passed_over
}
