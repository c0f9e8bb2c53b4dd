//! What the payment service publishes and hears.

use serde::Deserialize;
use serde_json::{Value, json};
use towpath_sdk::{Id, Money, relay::event, wire::Event};

use crate::{provider::Charged, store::Row};

/// The topic of all events of payments. The key is the order's id.
const TOPIC: &str = "payment.events";

/// `payment.captured` or `payment.declined`.
pub(crate) fn charged(order_id: Id, row: &Row, charged: &Charged) -> Event {
    match charged {
        Charged::Captured { reference } => {
            let more = json!({"amount": row.amount, "provider_reference": reference});
            said("payment.captured", order_id, row.id, more)
        }
        Charged::Declined { reason, .. } => said("payment.declined", order_id, row.id, json!({"reason": reason})),
    }
}

/// `payment.refunded`.
pub(crate) fn refunded(order_id: Id, row: &Row) -> Event {
    said("payment.refunded", order_id, row.id, json!({"amount": row.amount}))
}

fn said(kind: &str, order_id: Id, payment_id: Id, mut data: Value) -> Event {
    data["order_id"] = order_id.into();
    data["payment_id"] = payment_id.into();
    let mut event = event(TOPIC, order_id.to_string(), kind, &data);
    event.subject = Some(payment_id.to_string());
    event
}

/// The data of `stock.reserved` that payment uses.
#[derive(Deserialize)]
pub(crate) struct StockReserved {
    pub(crate) order_id: Id,
    pub(crate) customer_id: String,
    pub(crate) total: Money,
    pub(crate) payment_method: String,
}

/// The data of `order.cancelled` and `order.expired` that payment uses.
#[derive(Deserialize)]
pub(crate) struct OrderEnded {
    pub(crate) order_id: Id,
}

#[cfg(test)]
mod tests {
    use towpath_component_testing::events::assert_documented;
    use towpath_sdk::Time;

    use super::*;
    use crate::{
        domain::{Seen, Status},
        provider::Name,
    };

    #[test]
    fn events_are_keyed_by_the_order_and_say_what_the_contract_says() {
        let (order_id, id) = (Id::new(), Id::new());
        let amount = Money::new(300, "EUR".parse().expect("a currency"));
        let row = Row {
            id,
            amount,
            payment_method: "pm".into(),
            provider: Name::Sandbox,
            reference: None,
            since: Time::now(),
            seen: Seen { payment: Some(Status::Pending), cancelled: None },
        };
        let captured = charged(order_id, &row, &Charged::Captured { reference: "ch".into() });
        assert_documented(&captured);
        assert_eq!((captured.topic.as_str(), captured.key), (TOPIC, order_id.to_string()));
        let expected = json!({"order_id": order_id, "payment_id": id, "amount": amount, "provider_reference": "ch"});
        assert_eq!((captured.kind.as_str(), captured.data), ("payment.captured", expected));
        let declined = charged(order_id, &row, &Charged::Declined { reason: "lost_card".into(), reference: None });
        assert_documented(&declined);
        let expected = json!({"order_id": order_id, "payment_id": id, "reason": "lost_card"});
        assert_eq!((declined.kind.as_str(), declined.data), ("payment.declined", expected));
        let refunded = refunded(order_id, &row);
        assert_documented(&refunded);
        let expected = json!({"order_id": order_id, "payment_id": id, "amount": amount});
        assert_eq!((refunded.kind.as_str(), refunded.data), ("payment.refunded", expected));
    }
}
