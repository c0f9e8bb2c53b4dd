//! What the payment service refuses before it asks anybody, and how the problem document says so.

use std::time::Duration;

use serde_json::Value;
use towpath_sdk::{Budget, Context, Id, Request, Trace};

/// Status, code, and the code of every field that is wrong.
async fn ask(method: &str, path: &str) -> (u16, String, Vec<(String, String)>) {
    let request = Request::new(method.parse().expect("a method"), path, http::HeaderMap::new(), "");
    let context =
        Context { trace: Trace::root(), request_id: "test".into(), budget: Budget::of_all(Duration::from_secs(1)) };
    let response = towpath_payment::handle(context, request).await.expect_err("is refused").into_response();
    assert_eq!(response.get_header("content-type"), Some("application/problem+json"));
    let document: Value = serde_json::from_slice(response.body()).expect("a problem document");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect();
    (response.status(), text(&document["code"]), errors)
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
    for path in ["/v1/payments", "/v1/payments/7"] {
        assert_eq!(ask("POST", path).await, (405, "method_not_allowed".into(), vec![]), "{path}");
    }
}
