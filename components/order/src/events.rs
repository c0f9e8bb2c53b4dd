//! What the order service publishes and hears.

use serde::Deserialize;
use serde_json::{Value, json};
use towpath_sdk::{Delivery, Id, Money, Problem, relay::event, wire::Event};

use crate::domain::{Heard, OnDecline, Priced, Said, Seen, Status};

/// The topic of all events of orders. The key is the order's id.
const TOPIC: &str = "order.events";

/// The advice of a payment that no payment method pays.
const NEVER: &str = "never";

/// `order.placed`, under this event id.
pub(crate) fn placed(id: Id, event_id: Id, priced: &Priced) -> Event {
    let currency = priced.total.currency;
    let lines = priced.lines.iter().map(
        |line| json!({"sku": line.sku, "quantity": line.quantity, "unit_price": Money::new(line.unit_price, currency)}),
    );
    let data = json!({
        "order_id": id,
        "customer_id": priced.customer_id,
        "lines": lines.collect::<Vec<_>>(),
        "total": priced.total,
        "payment_method": priced.payment_method,
    });
    with_id(event(TOPIC, id.to_string(), "order.placed", &data), event_id)
}

/// The event of a step of an order, under this event id.
pub(crate) fn said(id: Id, event_id: Id, said: &Said) -> Event {
    let (kind, data) = match said {
        Said::Confirmed { payment_id } => ("order.confirmed", json!({"order_id": id, "payment_id": payment_id})),
        Said::Rejected { reason } => ("order.rejected", json!({"order_id": id, "reason": reason})),
        Said::Cancelled { reason } => ("order.cancelled", json!({"order_id": id, "reason": reason})),
        Said::Expired => ("order.expired", json!({"order_id": id})),
    };
    with_id(event(TOPIC, id.to_string(), kind, &data), event_id)
}

/// `order.payment_requested`, under this event id: the customer goes on with the payment, by another method or the same.
pub(crate) fn payment_requested(id: Id, event_id: Id, payment_method: Option<&str>) -> Event {
    let data = json!({"order_id": id, "payment_method": payment_method});
    with_id(event(TOPIC, id.to_string(), "order.payment_requested", &data), event_id)
}

fn with_id(mut event: Event, id: Id) -> Event {
    event.id = Some(id.to_string());
    event.subject = Some(event.key.clone());
    event
}

/// The order that an event of its saga is about.
#[derive(Deserialize)]
pub(crate) struct Of {
    pub(crate) order_id: Id,
}

#[derive(Deserialize)]
struct StockReserved {
    total: Money,
}

#[derive(Deserialize)]
struct StockRejected {
    reason: String,
}

#[derive(Deserialize)]
struct PaymentCaptured {
    payment_id: Id,
    amount: Money,
}

#[derive(Deserialize)]
struct PaymentDeclined {
    payment_id: Id,
    reason: String,
    #[serde(default)]
    advice: Option<String>,
}

/// `payment.action_required` and `payment.refunded`.
#[derive(Deserialize)]
struct OfPayment {
    payment_id: Id,
}

/// What an event means to an order, and the row that the order most likely has: trying that first saves a query.
pub(crate) fn heard(delivery: &Delivery) -> Result<Option<(Heard, Option<Seen>)>, Problem> {
    let likely = |status, total| Some(Seen { status, total, on_decline: OnDecline::Reject, asks: None });
    Ok(Some(match delivery.kind() {
        "stock.reserved" => {
            let StockReserved { total } = delivery.data()?;
            (Heard::StockReserved, likely(Status::Pending, total))
        }
        "stock.rejected" => {
            let StockRejected { reason } = delivery.data()?;
            (Heard::StockRejected { reason }, None)
        }
        "stock.released" => (Heard::StockReleased, None),
        "payment.captured" => {
            let PaymentCaptured { payment_id, amount } = delivery.data()?;
            (Heard::PaymentCaptured { payment_id, amount }, likely(Status::Reserved, amount))
        }
        "payment.action_required" => {
            let OfPayment { payment_id } = delivery.data()?;
            (Heard::ActionRequired { payment_id }, None)
        }
        "payment.declined" => {
            let PaymentDeclined { payment_id, reason, advice } = delivery.data()?;
            let payable = advice.as_deref() != Some(NEVER);
            (Heard::PaymentDeclined { payment_id, reason, payable }, None)
        }
        "payment.refunded" => {
            let OfPayment { payment_id } = delivery.data()?;
            (Heard::PaymentRefunded { payment_id }, None)
        }
        _ => return Ok(None),
    }))
}

/// The detail of its entry in the history.
pub(crate) fn detail(heard: &Heard) -> Value {
    match heard {
        Heard::StockReserved | Heard::StockReleased => json!({}),
        Heard::StockRejected { reason } => json!({"reason": reason}),
        Heard::PaymentCaptured { payment_id, amount } => json!({"payment_id": payment_id, "amount": amount}),
        Heard::PaymentDeclined { payment_id, reason, .. } => json!({"payment_id": payment_id, "reason": reason}),
        Heard::ActionRequired { payment_id } | Heard::PaymentRefunded { payment_id } => {
            json!({"payment_id": payment_id})
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_component_testing::events::assert_documented;

    use super::*;
    use crate::domain::Line;

    #[test]
    fn events_are_as_documented() {
        let (id, event_id) = (Id::new(), Id::new());
        let line = Line { sku: "A".into(), quantity: 2, unit_price: 150, total: 300 };
        let total = Money::new(300, "EUR".parse().expect("a currency"));
        let priced = Priced {
            customer_id: "c".into(),
            payment_method: "pm".into(),
            lines: vec![line],
            total,
            on_decline: OnDecline::Reject,
        };
        assert_documented(&placed(id, event_id, &priced));
        for step in [
            Said::Confirmed { payment_id: Id::new() },
            Said::Rejected { reason: "out_of_stock".into() },
            Said::Cancelled { reason: "payment_mismatch".into() },
            Said::Expired,
        ] {
            assert_documented(&said(id, event_id, &step));
        }
        assert_documented(&payment_requested(id, event_id, Some("pm_card_visa")));
        assert_documented(&payment_requested(id, event_id, None));
    }
}
