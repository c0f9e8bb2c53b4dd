//! What a customer needs to authenticate at the provider. Only whose order it is may have it.
//!
//! An order belongs to whoever knows the idempotency key that it was placed with: no answer, event or log line shows it. They
//! show it in the header `Order-Key`.

use std::time::Duration;

use serde_json::json;
use towpath_sdk::{Context, Request, log, request_hash};

use crate::order::Order;

/// The header.
const ORDER_KEY: &str = "order-key";

/// How long an answer waits for the secret: the provider is asked for it.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Whether the request shows the key that the order was placed with.
pub(crate) fn is_owner(request: &Request, placed_with: &str) -> bool {
    // Hashes are compared, so that the time tells nothing of the key.
    let hash = |key: &str| request_hash(ORDER_KEY, &key);
    request.header(ORDER_KEY).is_some_and(|shown| hash(shown) == hash(placed_with))
}

/// The order with its client secret, if its customer has to authenticate and the secret can be had.
pub(crate) async fn shown(context: &Context, order: Order) -> Order {
    if !order.requires_action() {
        return order;
    }
    let path = format!("/_peer/payment/orders/{}/client-secret", order.id);
    let secret = match context.peer("payment").with_timeout(MAX_WAIT).get_json(&path).await {
        Ok((200, body)) => body["client_secret"].as_str().map(str::to_owned),
        // It authenticated meanwhile.
        Ok((404, _)) => None,
        Ok((status, _)) => log_no_secret(&order, &format!("payment answered {status}")),
        Err(error) => log_no_secret(&order, &error.to_string()),
    };
    order.with_secret(secret)
}

fn log_no_secret(order: &Order, cause: &str) -> Option<String> {
    log(
        &json!({"level": "warn", "order_id": order.id, "message": "the client secret can't be had: the client gets the order without it", "cause": cause}),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_whose_key_it_was_placed_with() {
        let shows = |key: Option<&str>| {
            let mut headers = http::HeaderMap::new();
            if let Some(key) = key {
                headers.insert(ORDER_KEY, key.parse().expect("a header"));
            }
            is_owner(&Request::new(http::Method::GET, "/", headers, ""), "key-1")
        };
        assert!(shows(Some("key-1")));
        for other in [None, Some(""), Some("key-2"), Some("key-1 "), Some("KEY-1")] {
            assert!(!shows(other), "{other:?}");
        }
    }
}
