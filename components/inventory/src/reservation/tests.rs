use serde_json::json;

use super::*;
use crate::events::TOPIC;

fn order() -> Order {
    let data = json!({
        "order_id": Id::new(), "customer_id": "c", "payment_method": "pm_card_visa",
        "total": {"amount": 5, "currency": "EUR"},
        "lines": [{"sku": "A", "quantity": 2, "unit_price": 1}, {"sku": "A", "quantity": 3, "unit_price": 1}],
    });
    let placed: Placed = serde_json::from_value(data).expect("order.placed");
    Order::placed(placed).expect("a demand")
}

#[test]
fn what_was_reserved_is_said_with_all_that_payment_needs() {
    let order = order();
    let request = order.unit(UnitOfWork::new(), None, Action::Reserve).expect("a unit").into_request();
    let event = &request.events[0];
    assert_eq!((event.topic.as_str(), event.kind.as_str()), (TOPIC, "stock.reserved"));
    assert_eq!(event.key, order.id.to_string());
    assert_eq!(event.data["lines"], json!([{"sku": "A", "quantity": 5}]));
    assert_eq!(event.data["total"], json!({"amount": 5, "currency": "EUR"}));
    assert_eq!(event.data["payment_method"], "pm_card_visa");
}

#[test]
fn every_action_moves_the_reservation_first() {
    let order = order();
    for (from, action) in [
        (None, Action::Reserve),
        (Some(State::ConfirmedEarly), Action::SellUnreserved),
        (Some(State::Reserved), Action::Sell),
        (Some(State::Reserved), Action::Release),
        (Some(State::Sold), Action::Return),
        (None, Action::Remember(State::EndedEarly)),
    ] {
        let request = order.unit(UnitOfWork::new(), from, action).expect("a unit").into_request();
        assert_eq!(request.steps[0].label.as_deref(), Some(store::MOVED_ON), "{action:?}");
    }
    assert_eq!(order.unit(UnitOfWork::new(), Some(State::Sold), Action::Ignore), None);
}
