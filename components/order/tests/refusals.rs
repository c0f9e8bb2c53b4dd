//! What the order service refuses before it asks anybody, and how the problem document says so.

use std::time::Duration;

use serde_json::{Value, json};
use towpath_sdk::{Budget, Context, Request, Response, Trace};

async fn ask(method: &str, path: &str, key: Option<&str>, body: &str) -> Response {
    let mut headers = http::HeaderMap::new();
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().expect("a header value"));
    }
    let request = Request::new(method.parse().expect("a method"), path, headers, body.to_owned());
    let context =
        Context { trace: Trace::root(), request_id: "test".into(), budget: Budget::of_all(Duration::from_secs(1)) };
    towpath_order::handle(context, request).await.expect_err("is refused").into_response()
}

/// Status, code, and the code of every field that is wrong.
fn read(response: &Response) -> (u16, String, Vec<(String, String)>) {
    assert_eq!(response.get_header("content-type"), Some("application/problem+json"));
    let document: Value = serde_json::from_slice(response.body()).expect("a problem document");
    assert_eq!(document["status"], response.status());
    for words in ["type", "title", "detail"] {
        assert!(document[words].as_str().is_some_and(|text| !text.is_empty()), "{words}: {document}");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect();
    (response.status(), text(&document["code"]), errors)
}

fn fields(errors: &[(&str, &str)]) -> Vec<(String, String)> {
    errors.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
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
    for (method, path) in [("GET", "/v1/orders/7"), ("GET", "/v1/orders/7/history"), ("POST", "/v1/orders/7/cancel")] {
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
    ];
    for (method, path, allow) in cases {
        let response = ask(method, &path, None, "").await;
        assert_eq!(read(&response), (405, "method_not_allowed".into(), vec![]), "{method} {path}");
        assert_eq!(response.get_header("allow"), Some(allow));
    }
}
