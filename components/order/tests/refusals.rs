//! What the order service refuses before it asks anybody, and how the problem document says so.

use serde_json::json;
use towpath_component_testing::refusals::{self, fields, read};
use towpath_sdk::Response;

async fn ask(method: &str, path: &str, key: Option<&str>, body: &str) -> Response {
    let key = key.map(|key| ("idempotency-key", key));
    refusals::ask(towpath_order::handle, method, path, key.as_slice(), body).await
}

#[tokio::test]
async fn an_order_without_a_key_or_a_body_is_refused() {
    let order = r#"{"customer_id": "c", "payment_method": "pm", "lines": [{"sku": "A", "quantity": 1}]}"#;
    let missing = ask("POST", "/v1/orders", None, order).await;
    assert_eq!(read(&missing), (400, "idempotency_key_missing".into(), vec![]));
    let invalid = ask("POST", "/v1/orders", Some("two words"), order).await;
    assert_eq!(read(&invalid), (400, "idempotency_key_invalid".into(), vec![]));
    let malformed = ask("POST", "/v1/orders", Some("key"), "{").await;
    assert_eq!(read(&malformed), (400, "malformed_json".into(), vec![]));
}

#[tokio::test]
async fn everything_that_is_wrong_with_an_order_is_told_at_once() {
    let body = json!({"customer_id": "", "lines": [{"sku": "A", "quantity": 0}, {"quantity": 1}], "coupon": "x"});
    let response = ask("POST", "/v1/orders", Some("key"), &body.to_string()).await;
    let expected = fields(&[
        ("customer_id", "too_short"),
        ("payment_method", "required"),
        ("lines[0].quantity", "too_small"),
        ("lines[1].sku", "required"),
        ("coupon", "unknown_field"),
    ]);
    assert_eq!(read(&response), (422, "validation_failed".into(), expected));
}

#[tokio::test]
async fn wrong_parameters_of_a_list_are_told_at_once() {
    let response = ask("GET", "/v1/orders?status=lost&limit=0&page=2", None, "").await;
    let expected = fields(&[("status", "unknown_value"), ("limit", "too_small"), ("page", "unknown_field")]);
    assert_eq!(read(&response), (422, "validation_failed".into(), expected));
    let response = ask("GET", "/v1/orders?cursor=made-up", None, "").await;
    assert_eq!(read(&response), (400, "invalid_cursor".into(), vec![]));
}

#[tokio::test]
async fn a_wrong_reason_to_cancel_is_refused() {
    let id = towpath_sdk::Id::new();
    let body = json!({"reason": "x".repeat(201)}).to_string();
    let response = ask("POST", &format!("/v1/orders/{id}/cancel"), None, &body).await;
    assert_eq!(read(&response), (422, "validation_failed".into(), fields(&[("reason", "too_long")])));
}

#[tokio::test]
async fn what_is_no_id_is_the_id_of_no_order() {
    for (method, path) in [
        ("GET", "/v1/orders/7"),
        ("GET", "/_peer/order/orders/7"),
        ("GET", "/v1/orders/7/history"),
        ("POST", "/v1/orders/7/cancel"),
        ("POST", "/v1/orders/7/payment"),
    ] {
        assert_eq!(read(&ask(method, path, None, "").await), (404, "unknown_order".into(), vec![]), "{path}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let id = towpath_sdk::Id::new();
    for path in ["/", "/v1", "/v1/orders/", "/v1/orders/x/y/z", "/_relay/order", "/_relay/payment/events"] {
        let status = read(&ask("GET", path, None, "").await).0;
        assert_eq!(status, 404, "{path}");
    }
    let cases = [
        ("DELETE", "/v1/orders".to_owned(), "GET, POST"),
        ("PATCH", format!("/v1/orders/{id}"), "GET"),
        ("POST", format!("/v1/orders/{id}/history"), "GET"),
        ("GET", format!("/v1/orders/{id}/cancel"), "POST"),
        ("GET", format!("/v1/orders/{id}/payment"), "POST"),
        ("POST", format!("/_peer/order/orders/{id}"), "GET"),
        ("GET", "/_relay/order/events".to_owned(), "POST"),
        ("PUT", "/_relay/order/timers/expire-orders".to_owned(), "POST"),
    ];
    for (method, path, allow) in cases {
        let response = ask(method, &path, None, "").await;
        assert_eq!(read(&response), (405, "method_not_allowed".into(), vec![]), "{method} {path}");
        assert_eq!(response.get_header("allow"), Some(allow));
    }
}
