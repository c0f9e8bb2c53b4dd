//! What product refuses before it asks anybody, and how the problem document says so.

use serde_json::json;
use towpath_component_testing::refusals::{Refusal, ask, invalid, plain, read};

async fn refusal(method: &str, path: &str, header: Option<(&'static str, &str)>, body: &str) -> Refusal {
    read(&ask(towpath_product::handle, method, path, header.as_slice(), body).await)
}

const ONE: &str = "/v1/products/0190a5e4-7b3a-7c5d-8e9f-0123456789ab";

#[tokio::test]
async fn a_new_product_is_checked() {
    assert_eq!(refusal("POST", "/v1/products", None, "").await, plain(415, "unsupported_media_type"));
    assert_eq!(refusal("POST", "/v1/products", None, "{").await, plain(400, "malformed_json"));
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
