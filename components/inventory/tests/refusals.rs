//! What inventory refuses before it asks anybody, and how the problem document says so.

use std::time::Duration;

use serde_json::{Value, json};
use towpath_sdk::{Budget, Context, Request, Trace};

/// Status, code, and the field and code of everything that is wrong.
async fn refusal(method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, String, Vec<(String, String)>) {
    let mut headers = http::HeaderMap::new();
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().expect("a header value"));
    }
    let request = Request::new(method.parse().expect("a method"), path, headers, body.to_owned());
    let context =
        Context { trace: Trace::root(), request_id: "test".into(), budget: Budget::of_all(Duration::from_secs(1)) };
    let response = towpath_inventory::handle(context, request).await.expect_err("is refused").into_response();
    assert_eq!(response.get_header("content-type"), Some("application/problem+json"));
    let document: Value = serde_json::from_slice(response.body()).expect("a problem document");
    assert_eq!(document["status"], response.status());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect();
    (response.status(), text(&document["code"]), errors)
}

fn plain(status: u16, code: &str) -> (u16, String, Vec<(String, String)>) {
    (status, code.into(), vec![])
}

const ADJUSTMENTS: &str = "/v1/inventory/A/adjustments";

#[tokio::test]
async fn an_adjustment_needs_its_key_and_a_body() {
    let body = r#"{"delta": 1, "reason": "seed"}"#;
    assert_eq!(refusal("POST", ADJUSTMENTS, None, body).await, plain(400, "idempotency_key_missing"));
    assert_eq!(refusal("POST", ADJUSTMENTS, Some("a b"), body).await, plain(400, "idempotency_key_invalid"));
    assert_eq!(refusal("POST", ADJUSTMENTS, Some("k"), "{").await, plain(400, "malformed_json"));
    let wrong = json!({"delta": 0, "reason": " ", "by": 1}).to_string();
    let errors = [("delta", "zero"), ("reason", "too_short"), ("by", "unknown_field")];
    let errors = errors.map(|(field, code)| (field.to_owned(), code.to_owned())).to_vec();
    assert_eq!(refusal("POST", ADJUSTMENTS, Some("k"), &wrong).await, (422, "validation_failed".into(), errors));
}

#[tokio::test]
async fn a_sku_that_cant_be_is_unknown() {
    for path in ["/v1/inventory/a%20b", "/v1/inventory/", "/v1/inventory/..", "/v1/inventory/%00"] {
        assert_eq!(refusal("GET", path, None, "").await, plain(404, "unknown_sku"), "{path}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    assert_eq!(refusal("GET", "/v1/inventory", None, "").await, plain(404, "not_found"));
    assert_eq!(refusal("GET", "/_relay/inventory/other", None, "").await, plain(404, "not_found"));
    assert_eq!(refusal("DELETE", "/v1/inventory/A", None, "").await, plain(405, "method_not_allowed"));
    assert_eq!(refusal("GET", ADJUSTMENTS, None, "").await, plain(405, "method_not_allowed"));
}
