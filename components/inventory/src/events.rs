//! What inventory publishes and hears.

use serde::{Deserialize, Serialize};
use serde_json::json;
use towpath_sdk::{Id, Money, relay::event, wire::Event};

use crate::domain::{Demand, Line};

/// The topic of all events of stock. The key is the order's id.
pub const TOPIC: &str = "inventory.events";

/// `order.placed`, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
pub struct Placed {
    /// The order.
    pub order_id: Id,
    /// The customer.
    pub customer_id: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Its total.
    pub total: Money,
    /// What the provider charges.
    pub payment_method: String,
}

/// Every other event of an order, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct About {
    pub(crate) order_id: Id,
}

/// `product.created`, as far as it concerns stock.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Created {
    pub(crate) sku: String,
}

/// A line of `stock.reserved`.
#[derive(Serialize)]
struct ReservedLine<'a> {
    sku: &'a str,
    quantity: i64,
}

/// `stock.reserved`, with all that payment needs.
pub(crate) fn reserved(placed: &Placed, demand: &Demand) -> Event {
    let lines: Vec<_> = demand.iter().map(|(sku, &quantity)| ReservedLine { sku, quantity }).collect();
    let data = json!({
        "order_id": placed.order_id,
        "customer_id": placed.customer_id,
        "total": placed.total,
        "payment_method": placed.payment_method,
        "lines": lines,
    });
    event(TOPIC, placed.order_id, "stock.reserved", &data)
}

/// `stock.rejected`: there is too little of it.
pub(crate) fn rejected(order_id: Id) -> Event {
    event(TOPIC, order_id, "stock.rejected", &json!({"order_id": order_id, "reason": "out_of_stock"}))
}

/// `stock.released`: what was reserved or sold is available again.
pub(crate) fn released(order_id: Id) -> Event {
    event(TOPIC, order_id, "stock.released", &json!({"order_id": order_id}))
}

#[cfg(test)]
mod tests {
    use towpath_component_testing::events::assert_documented;

    use super::*;
    use crate::domain::demand;

    #[test]
    fn events_are_as_documented() {
        let placed = Placed {
            order_id: Id::new(),
            customer_id: "c".into(),
            lines: vec![Line { sku: "A".into(), quantity: 2 }],
            total: Money::new(300, "EUR".parse().expect("a currency")),
            payment_method: "pm".into(),
        };
        assert_documented(&reserved(&placed, &demand(&placed.lines).expect("a demand")));
        assert_documented(&rejected(placed.order_id));
        assert_documented(&released(placed.order_id));
    }
}
