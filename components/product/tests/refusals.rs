//! What product refuses before it asks anybody, and how the problem document says so.

use std::time::Duration;

use serde_json::{Value, json};
use towpath_sdk::{Budget, Context, Request, Trace};

type Refusal = (u16, String, Vec<(String, String)>);

/// Status, code, and the field and code of everything that is wrong.
async fn refusal(method: &str, path: &str, header: Option<(&'static str, &str)>, body: &str) -> Refusal {
    let mut headers = http::HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(name, value.parse().expect("a header value"));
    }
    let request = Request::new(method.parse().expect("a method"), path, headers, body.to_owned());
    let context =
        Context { trace: Trace::root(), request_id: "test".into(), budget: Budget::of_all(Duration::from_secs(1)) };
    let response = towpath_product::handle(context, request).await.expect_err("is refused").into_response();
    assert_eq!(response.get_header("content-type"), Some("application/problem+json"));
    let document: Value = serde_json::from_slice(response.body()).expect("a problem document");
    assert_eq!(document["status"], response.status());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect();
    (response.status(), text(&document["code"]), errors)
}

fn plain(status: u16, code: &str) -> Refusal {
    (status, code.into(), vec![])
}

fn invalid(errors: &[(&str, &str)]) -> Refusal {
    let errors = errors.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect();
    (422, "validation_failed".into(), errors)
}

const ONE: &str = "/v1/products/0190a5e4-7b3a-7c5d-8e9f-0123456789ab";

#[tokio::test]
async fn a_new_product_is_checked() {
    assert_eq!(refusal("POST", "/v1/products", None, "").await, plain(400, "malformed_json"));
    let text = Some(("content-type", "text/plain"));
    assert_eq!(refusal("POST", "/v1/products", text, "{}").await, plain(415, "unsupported_media_type"));
    let body = json!({"sku": "a b", "name": "", "price": {"amount": 1.5, "currency": "ABC"}}).to_string();
    let expected = [
        ("sku", "invalid_characters"),
        ("name", "too_short"),
        ("price.amount", "wrong_type"),
        ("price.currency", "unknown_currency"),
    ];
    assert_eq!(refusal("POST", "/v1/products", None, &body).await, invalid(&expected));
}

#[tokio::test]
async fn a_page_is_checked() {
    let page = refusal("GET", "/v1/products?limit=0&sku=a%20b&offset=5", None, "").await;
    assert_eq!(page, invalid(&[("limit", "too_small"), ("sku", "invalid_characters"), ("offset", "unknown_field")]));
}

#[tokio::test]
async fn a_patch_is_checked() {
    assert_eq!(refusal("PATCH", ONE, None, "{}").await, plain(428, "precondition_required"));
    assert_eq!(refusal("PATCH", ONE, Some(("if-match", "7")), "{}").await, plain(400, "malformed_if_match"));
    let patch = refusal("PATCH", ONE, Some(("if-match", "\"7\"")), r#"{"sku": "B", "active": 1}"#).await;
    assert_eq!(patch, invalid(&[("active", "wrong_type"), ("sku", "immutable")]));
}

#[tokio::test]
async fn what_isnt_there_is_refused() {
    assert_eq!(refusal("GET", "/v1/products/7", None, "").await, plain(404, "unknown_product"));
    assert_eq!(refusal("PATCH", "/v1/products/7", None, "").await, plain(404, "unknown_product"));
    assert_eq!(refusal("GET", "/v1/products/7/8", None, "").await, plain(404, "not_found"));
    assert_eq!(refusal("DELETE", ONE, None, "").await, plain(405, "method_not_allowed"));
    assert_eq!(refusal("PUT", "/v1/products", None, "").await, plain(405, "method_not_allowed"));
}
