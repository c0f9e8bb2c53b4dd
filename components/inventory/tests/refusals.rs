//! What inventory refuses before it asks anybody, and how the problem document says so.

use serde_json::json;
use towpath_component_testing::refusals::{Refusal, ask, plain, read};

async fn refusal(method: &str, path: &str, key: Option<&str>, body: &str) -> Refusal {
    let key = key.map(|key| ("idempotency-key", key));
    read(&ask(towpath_inventory::handle, method, path, key.as_slice(), body).await)
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
