//! What the payment service publishes and hears.

use serde::Deserialize;
use serde_json::{Value, json};
use towpath_sdk::{Id, Money, relay::event, wire::Event};

use crate::{provider::outcomes::advice, store::Row};

/// The topic of all events of payments. The key is the order's id.
const TOPIC: &str = "payment.events";

/// `payment.captured`.
pub(crate) fn captured(order_id: Id, row: &Row) -> Event {
    said("payment.captured", order_id, row.id, json!({"amount": row.amount, "provider_reference": row.reference}))
}

/// `payment.action_required`. The secret that the customer needs for it is in no event.
pub(crate) fn action_required(order_id: Id, payment_id: Id) -> Event {
    said("payment.action_required", order_id, payment_id, json!({}))
}

/// `payment.declined`.
pub(crate) fn declined(order_id: Id, payment_id: Id, reason: &str) -> Event {
    said("payment.declined", order_id, payment_id, json!({"reason": reason, "advice": advice(reason).as_str()}))
}

/// `payment.refunded`.
pub(crate) fn refunded(order_id: Id, payment_id: Id, amount: Money) -> Event {
    said("payment.refunded", order_id, payment_id, json!({"amount": amount}))
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

/// The data of `order.payment_requested` that payment uses.
#[derive(Deserialize)]
pub(crate) struct PaymentRequested {
    pub(crate) order_id: Id,
    /// Another one, if the customer takes another one.
    #[serde(default)]
    pub(crate) payment_method: Option<String>,
}

/// The data of `order.cancelled`, `order.expired` and `order.rejected` that payment uses.
#[derive(Deserialize)]
pub(crate) struct OrderEnded {
    pub(crate) order_id: Id,
}

#[cfg(test)]
mod tests {
    use towpath_component_testing::events::assert_documented;

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
            reference: Some("ch".into()),
            reason: None,
            attempt: 1,
            retries: 0,
            refund_attempt: 1,
            seen: Seen {
                payment: Some(Status::Pending),
                intent: true,
                closed: false,
                refund_taken: false,
                cancelled: None,
            },
        };
        let captured = captured(order_id, &row);
        assert_documented(&captured);
        assert_eq!((captured.topic.as_str(), captured.key), (TOPIC, order_id.to_string()));
        let expected = json!({"order_id": order_id, "payment_id": id, "amount": amount, "provider_reference": "ch"});
        assert_eq!((captured.kind.as_str(), captured.data), ("payment.captured", expected));
        let action_required = action_required(order_id, id);
        assert_documented(&action_required);
        assert_eq!(action_required.data, json!({"order_id": order_id, "payment_id": id}));
        let declined = declined(order_id, id, "expired_card");
        assert_documented(&declined);
        let expected = json!({"order_id": order_id, "payment_id": id, "reason": "expired_card", "advice": "final"});
        assert_eq!((declined.kind.as_str(), declined.data), ("payment.declined", expected));
        for reason in ["currency_not_supported", "amount_not_chargeable", "amount_too_small", "amount_too_large"] {
            let declined = super::declined(order_id, id, reason);
            assert_eq!(declined.data["advice"], "never", "an order waits for no other payment method: {reason}");
        }
        let refunded = refunded(order_id, id, amount);
        assert_documented(&refunded);
        let expected = json!({"order_id": order_id, "payment_id": id, "amount": amount});
        assert_eq!((refunded.kind.as_str(), refunded.data), ("payment.refunded", expected));
    }
}
