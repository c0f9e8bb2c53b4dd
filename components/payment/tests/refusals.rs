//! What the payment service refuses before it asks anybody, and how the problem document says so.

use towpath_component_testing::refusals::{self, Refusal, read};
use towpath_sdk::Id;

async fn ask(method: &str, path: &str) -> Refusal {
    read(&refusals::ask(towpath_payment::handle, method, path, &[], "").await)
}

#[tokio::test]
async fn payments_are_listed_by_order_alone() {
    let wrong = |field: &str, code: &str| (422, "validation_failed".into(), vec![(field.to_owned(), code.to_owned())]);
    assert_eq!(ask("GET", "/v1/payments").await, wrong("order_id", "required"));
    assert_eq!(ask("GET", "/v1/payments?order_id=7").await, wrong("order_id", "invalid_id"));
    let path = format!("/v1/payments?order_id={}&limit=5", Id::new());
    assert_eq!(ask("GET", &path).await, wrong("limit", "unknown_field"));
}

#[tokio::test]
async fn other_ids_paths_and_methods_are_refused() {
    assert_eq!(ask("GET", "/v1/payments/7").await, (404, "unknown_payment".into(), vec![]));
    for path in ["/", "/v1/payments/x/y", "/_relay/payment", "/_relay/order/events"] {
        assert_eq!(ask("GET", path).await, (404, "not_found".into(), vec![]), "{path}");
    }
    for path in ["/v1/payments", "/v1/payments/7", "/_peer/payment/orders/7/client-secret"] {
        assert_eq!(ask("POST", path).await, (405, "method_not_allowed".into(), vec![]), "{path}");
    }
    for path in ["/v1/providers/stripe/webhooks", "/v1/providers/sandbox/challenges"] {
        assert_eq!(ask("GET", path).await, (405, "method_not_allowed".into(), vec![]), "{path}");
    }
}
