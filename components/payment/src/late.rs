//! Events that come late: while payment could not work, the order may have ended, and payment has not heard of it yet.
//!
//! The end of an order comes by another topic than its reserved stock, so either may arrive first. In good times both arrive
//! at once, and a charge that was too early is refunded. After an outage of payment the one may come long after the other:
//! then payment asks order before it charges, so that nobody pays for an order that ended hours ago, if only for a moment.

use std::time::Duration;

use serde_json::Value;
use towpath_sdk::{Context, Delivery, Id, Problem, Time};

/// Of an event that is younger, nobody is asked: order would be called for every order.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Whether the order that an event wants a charge for has ended, as far as order says. Only asked of late events.
///
/// # Errors
/// 503 where order can't be asked: the relay delivers the event again.
pub(crate) async fn has_ended(context: &Context, delivery: &Delivery, order_id: Id) -> Result<bool, Problem> {
    if !is_late(delivery.time(), Time::now()) {
        return Ok(false);
    }
    match context.peer("order").get_json(&format!("/_peer/order/orders/{order_id}")).await {
        Ok((200, order)) => Ok(ended(&order)),
        // Order doesn't know it: then it ends nothing either.
        Ok((404, _)) => Ok(false),
        Ok((status, _)) => Err(unavailable(format!("order answered {status}"))),
        Err(error) => Err(unavailable(format!("order {error}"))),
    }
}

fn is_late(time: Option<&str>, now: Time) -> bool {
    let time: Option<Time> = time.and_then(|time| time.parse().ok());
    time.is_some_and(|time| time.plus(MAX_AGE) < now)
}

fn ended(order: &Value) -> bool {
    matches!(order["status"].as_str(), Some("rejected" | "cancelled" | "expired"))
}

fn unavailable(cause: String) -> Problem {
    let detail =
        "Payment does not know whether this order has ended, and the order service, which does, is not available.";
    Problem::unavailable("order_unavailable", detail, cause)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_late_after_five_seconds() {
        let now: Time = "2026-08-01T12:00:10Z".parse().expect("a time");
        assert!(is_late(Some("2026-08-01T12:00:04.9Z"), now));
        for time in [Some("2026-08-01T12:00:05Z"), Some("2026-08-01T13:00:00Z"), Some("yesterday"), None] {
            assert!(!is_late(time, now), "{time:?}");
        }
    }

    #[test]
    fn an_order_that_waits_or_is_paid_has_not_ended() {
        let ends = ["rejected", "cancelled", "expired"];
        for status in ["pending", "reserved", "confirmed", "shipped", "delivered", "rejected", "cancelled", "expired"] {
            assert_eq!(ended(&json!({"status": status})), ends.contains(&status), "{status}");
        }
        assert!(!ended(&Value::Null));
    }
}
