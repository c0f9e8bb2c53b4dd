//! Products, changes of them and adjustments of stock that are wrong, each with its problem document.

use reqwest::Method;
use serde_json::{Value, json};
use towpath_tests::{Shop, Wrong, assert_refused, assert_wrong_fields};
use uuid::Uuid;

/// A product that is right, with these fields instead of its own; one that is null goes away.
fn product_with(changes: Value) -> Value {
    let mut body = json!({ "sku": Shop::fresh_sku(), "name": "A", "price": { "amount": 1, "currency": "EUR" } });
    let fields = body.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            fields.remove(name)
        } else {
            fields.insert(name.clone(), value.clone())
        };
    }
    body
}

#[tokio::test]
async fn a_product_with_something_wrong_is_refused_by_field() {
    let shop = Shop::open();
    let cases: [(Value, &[Wrong<'_>]); 20] = [
        (json!({ "sku": null }), &[("sku", "required")]),
        (json!({ "sku": "" }), &[("sku", "too_short")]),
        (json!({ "sku": "x".repeat(65) }), &[("sku", "too_long")]),
        (json!({ "sku": "a b" }), &[("sku", "invalid_characters")]),
        (json!({ "sku": 7 }), &[("sku", "wrong_type")]),
        (json!({ "name": null }), &[("name", "required")]),
        (json!({ "name": " " }), &[("name", "too_short")]),
        (json!({ "name": "x".repeat(201) }), &[("name", "too_long")]),
        (json!({ "name": "a\u{7}" }), &[("name", "invalid_characters")]),
        (json!({ "description": "x".repeat(2001) }), &[("description", "too_long")]),
        (json!({ "description": [] }), &[("description", "wrong_type")]),
        (json!({ "price": null }), &[("price", "required")]),
        (json!({ "price": 5 }), &[("price", "wrong_type")]),
        (json!({ "price": {} }), &[("price.amount", "required"), ("price.currency", "required")]),
        (json!({ "price": { "amount": 0, "currency": "EUR" } }), &[("price.amount", "too_small")]),
        (json!({ "price": { "amount": 1.5, "currency": "EUR" } }), &[("price.amount", "wrong_type")]),
        (json!({ "price": { "amount": 1_000_000_000_001_i64, "currency": "EUR" } }), &[("price.amount", "too_large")]),
        (json!({ "price": { "amount": 1, "currency": "eur" } }), &[("price.currency", "unknown_currency")]),
        (json!({ "price": { "amount": 1, "currency": "HRK" } }), &[("price.currency", "withdrawn_currency")]),
        (json!({ "active": true, "id": "x" }), &[("active", "unknown_field"), ("id", "unknown_field")]),
    ];
    for (changes, wrong) in cases {
        let body = product_with(changes);
        let answer = shop.api.post("/v1/products").json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 422, "{body}: {}", answer.text());
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), wrong);
    }
    shop.close().await;
}

#[tokio::test]
async fn a_change_with_something_wrong_is_refused_by_field() {
    let shop = Shop::open();
    let product = shop.product().await;
    let path = format!("/v1/products/{}", product.id);
    let cases: [(Value, &[Wrong<'_>]); 7] = [
        (json!({ "name": null }), &[("name", "required")]),
        (json!({ "name": 1 }), &[("name", "wrong_type")]),
        (json!({ "price": { "amount": 1 } }), &[("price.currency", "required")]),
        (json!({ "active": "yes" }), &[("active", "wrong_type")]),
        (json!({ "sku": "B", "version": 9 }), &[("sku", "immutable"), ("version", "immutable")]),
        (json!({ "colour": "red" }), &[("colour", "unknown_field")]),
        (json!([]), &[("$", "wrong_type")]),
    ];
    for (body, wrong) in cases {
        let call = shop.api.call(Method::PATCH, &path).header("if-match", "\"1\"").json(&body);
        let answer = call.send().await.expect("an answer");
        assert_eq!(answer.status(), 422, "{body}: {}", answer.text());
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), wrong);
    }
    for (tag, status, code) in [
        ("\"2\"", 412, "precondition_failed"),
        ("W/\"1\"", 412, "precondition_failed"),
        ("1", 400, "malformed_if_match"),
        ("\"1", 400, "malformed_if_match"),
    ] {
        let call = shop.api.call(Method::PATCH, &path).header("if-match", tag).json(&json!({ "name": "B" }));
        let _ = assert_refused(&call.send().await.expect("an answer"), status, code);
    }
    let untouched: towpath_client::Product =
        shop.api.get(&path).send().await.and_then(|answer| answer.read()).expect("the product");
    assert_eq!(untouched, product);
    shop.close().await;
}

#[tokio::test]
async fn a_page_that_is_asked_for_wrongly_is_refused() {
    let shop = Shop::open();
    for (query, field, code) in [
        ("limit=0", "limit", "too_small"),
        ("limit=101", "limit", "too_large"),
        ("limit=ten", "limit", "wrong_type"),
        ("sku=a%20b", "sku", "invalid_characters"),
        ("page=2", "page", "unknown_field"),
        ("sku=A&sku=B", "sku", "duplicate"),
    ] {
        let answer = shop.api.get(&format!("/v1/products?{query}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 422, "{query}: {}", answer.text());
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), &[(field, code)]);
    }
    // A cursor of another list is no cursor of this one.
    let orders = format!("/v1/orders?customer_id={}&limit=1", shop.customer);
    let sku = shop.sku(2).await;
    for _ in 0..2 {
        shop.place(&shop.order_for(&sku, 1)).await;
    }
    let page = shop.api.get(&orders).send().await.expect("an answer").json();
    let foreign = page["next_cursor"].as_str().expect("there is a second page").to_owned();
    for cursor in ["x", "AAAA", foreign.as_str()] {
        let answer = shop.api.get(&format!("/v1/products?cursor={cursor}")).send().await.expect("an answer");
        let _ = assert_refused(&answer, 400, "invalid_cursor");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_id_that_is_no_id_is_found_nowhere() {
    let shop = Shop::open();
    let nobody = Uuid::now_v7().to_string();
    for id in ["7", "not-an-id", nobody.as_str()] {
        let path = format!("/v1/products/{id}");
        let answer = shop.api.get(&path).send().await.expect("an answer");
        let _ = assert_refused(&answer, 404, "unknown_product");
        let call = shop.api.call(Method::PATCH, &path).header("if-match", "*").json(&json!({ "name": "B" }));
        let _ = assert_refused(&call.send().await.expect("an answer"), 404, "unknown_product");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_adjustment_with_something_wrong_is_refused_by_field() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let cases: [(Value, &[Wrong<'_>]); 8] = [
        (json!({ "reason": "delivery" }), &[("delta", "required")]),
        (json!({ "delta": 0, "reason": "delivery" }), &[("delta", "zero")]),
        (json!({ "delta": 1.5, "reason": "delivery" }), &[("delta", "wrong_type")]),
        (json!({ "delta": "1", "reason": "delivery" }), &[("delta", "wrong_type")]),
        (json!({ "delta": 1 }), &[("reason", "required")]),
        (json!({ "delta": 1, "reason": "" }), &[("reason", "too_short")]),
        (json!({ "delta": 1, "reason": "delivery", "sku": "A" }), &[("sku", "unknown_field")]),
        (json!({}), &[("delta", "required"), ("reason", "required")]),
    ];
    for (body, wrong) in cases {
        let call = shop.api.post(&format!("/v1/inventory/{sku}/adjustments"));
        let call = call.header("idempotency-key", &Shop::fresh_key()).json(&body);
        let answer = call.send().await.expect("an answer");
        assert_eq!(answer.status(), 422, "{body}: {}", answer.text());
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), wrong);
    }
    shop.stock_becomes(&sku, 1, 0).await;
    shop.close().await;
}
