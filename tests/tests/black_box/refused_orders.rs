//! Orders that are wrong, each with its problem document; every wrong field is named at once.

use reqwest::Method;
use serde_json::{Value, json};
use towpath_client::Money;
use towpath_tests::{Shop, Wrong, assert_refused, assert_wrong_fields};

/// A body that is right, to make wrong ones of.
fn right(sku: &str) -> Value {
    json!({ "customer_id": "c-1", "lines": [{ "sku": sku, "quantity": 1 }], "payment_method": "pm_card_visa" })
}

/// `right` with this field replaced, or taken away where `value` is none.
fn with(sku: &str, pointer: &str, value: Option<Value>) -> Value {
    let mut body = right(sku);
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match value {
        Some(value) => parent.insert(name.into(), value),
        None => parent.remove(name),
    };
    body
}

async fn refused(shop: &Shop, body: &Value, wrong: &[Wrong<'_>]) {
    let call = shop.api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key());
    let answer = call.json(body).send().await.expect("an answer");
    assert_eq!(answer.status(), 422, "{body}: {}", answer.text());
    assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), wrong);
}

#[tokio::test]
async fn each_field_that_is_wrong_is_named() {
    let shop = Shop::open();
    let long = "x".repeat(129);
    let line = |sku: &str| json!({ "sku": sku, "quantity": 1 });
    let too_many: Vec<Value> = (0..101).map(|_| line("A")).collect();
    let cases: [(&str, Option<Value>, Wrong<'_>); 27] = [
        ("/customer_id", None, ("customer_id", "required")),
        ("/customer_id", Some(Value::Null), ("customer_id", "required")),
        ("/customer_id", Some(json!("")), ("customer_id", "too_short")),
        ("/customer_id", Some(json!("  ")), ("customer_id", "too_short")),
        ("/customer_id", Some(json!(long)), ("customer_id", "too_long")),
        ("/customer_id", Some(json!("a\u{0}b")), ("customer_id", "invalid_characters")),
        ("/customer_id", Some(json!(7)), ("customer_id", "wrong_type")),
        ("/payment_method", None, ("payment_method", "required")),
        ("/payment_method", Some(json!("")), ("payment_method", "too_short")),
        ("/payment_method", Some(json!({})), ("payment_method", "wrong_type")),
        ("/lines", None, ("lines", "required")),
        ("/lines", Some(json!([])), ("lines", "too_short")),
        ("/lines", Some(json!(too_many)), ("lines", "too_long")),
        ("/lines", Some(json!({ "sku": "A" })), ("lines", "wrong_type")),
        ("/lines", Some(json!(["A"])), ("lines[0]", "wrong_type")),
        ("/lines/0/sku", None, ("lines[0].sku", "required")),
        ("/lines/0/sku", Some(json!("")), ("lines[0].sku", "too_short")),
        ("/lines/0/sku", Some(json!("x".repeat(65))), ("lines[0].sku", "too_long")),
        ("/lines/0/sku", Some(json!("a b")), ("lines[0].sku", "invalid_characters")),
        ("/lines/0/quantity", None, ("lines[0].quantity", "required")),
        ("/lines/0/quantity", Some(json!(0)), ("lines[0].quantity", "too_small")),
        ("/lines/0/quantity", Some(json!(-1)), ("lines[0].quantity", "too_small")),
        ("/lines/0/quantity", Some(json!(10_001)), ("lines[0].quantity", "too_large")),
        ("/lines/0/quantity", Some(json!(1.5)), ("lines[0].quantity", "wrong_type")),
        ("/lines/0/quantity", Some(json!("1")), ("lines[0].quantity", "wrong_type")),
        ("/lines/0/price", Some(json!(1)), ("lines[0].price", "unknown_field")),
        ("/total", Some(json!(1)), ("total", "unknown_field")),
    ];
    let sku = shop.sku(1).await;
    for (pointer, value, wrong) in cases {
        let body = match pointer.strip_prefix("/lines/0/") {
            // A pointer into an array can't insert; the line is an object.
            Some(name) => {
                let mut body = right(&sku);
                let line = body["lines"][0].as_object_mut().expect("a line");
                match value {
                    Some(value) => line.insert(name.into(), value),
                    None => line.remove(name),
                };
                body
            }
            None => with(&sku, pointer, value),
        };
        refused(&shop, &body, &[wrong]).await;
    }
    shop.stock_becomes(&sku, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn all_that_is_wrong_is_named_at_once() {
    let shop = Shop::open();
    let body = json!({
        "customer_id": 7,
        "lines": [{ "sku": "A", "quantity": 1 }, { "sku": "a b", "quantity": 0 }, {}],
        "note": "hello",
    });
    let wrong = [
        ("customer_id", "wrong_type"),
        ("payment_method", "required"),
        ("lines[1].sku", "invalid_characters"),
        ("lines[1].quantity", "too_small"),
        ("lines[2].sku", "required"),
        ("lines[2].quantity", "required"),
        ("note", "unknown_field"),
    ];
    refused(&shop, &body, &wrong).await;
    refused(&shop, &json!([]), &[("$", "wrong_type")]).await;
    shop.close().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let shop = Shop::open();
    for (content_type, body, status, code) in [
        ("application/json", "", 400, "malformed_json"),
        ("application/json", "{", 400, "malformed_json"),
        ("application/json", "{\"customer_id\": \"\\ud800\"}", 400, "malformed_json"),
        ("application/json", "nonsense", 400, "malformed_json"),
        ("text/plain", "{}", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", "customer_id=1", 415, "unsupported_media_type"),
    ] {
        for path in ["/v1/orders", "/v1/inventory/A/adjustments", "/v1/products"] {
            let call = shop.api.post(path).header("idempotency-key", &Shop::fresh_key());
            let answer = call.body(content_type, body).send().await.expect("an answer");
            let _ = assert_refused(&answer, status, code);
        }
    }
    shop.close().await;
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let long = "x".repeat(256);
    for key in ["", "a b", "a\tb", long.as_str()] {
        for (path, body) in [
            ("/v1/orders".to_owned(), right(&sku)),
            (format!("/v1/inventory/{sku}/adjustments"), json!({ "delta": 1, "reason": "delivery" })),
        ] {
            let answer = shop.api.post(&path).header("idempotency-key", key).json(&body).send().await;
            let _ = assert_refused(&answer.expect("an answer"), 400, "idempotency_key_invalid");
        }
    }
    shop.stock_becomes(&sku, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn what_only_the_prices_show_names_the_lines() {
    let shop = Shop::open();
    let place = async |lines: &[(&str, i64)]| {
        let lines: Vec<Value> = lines.iter().map(|(sku, n)| json!({ "sku": sku, "quantity": n })).collect();
        let body = json!({ "customer_id": shop.customer, "lines": lines, "payment_method": "pm_card_visa" });
        let call = shop.api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key());
        call.json(&body).send().await.expect("an answer")
    };
    let euros = shop.sku(1).await;
    let pounds = shop.product_at(Money { amount: 1, currency: "GBP".into() }).await.sku;
    let dear = shop.product_at(Money::eur(1_000_000_000_000)).await.sku;
    let unknown = Shop::fresh_sku();

    let answer = place(&[(&euros, 1), (&unknown, 1), (&unknown, 2)]).await;
    let wrong = [("lines[1].sku", "unknown_sku"), ("lines[2].sku", "unknown_sku")];
    assert_wrong_fields(&assert_refused(&answer, 422, "unknown_sku"), &wrong);

    let answer = place(&[(&euros, 1), (&pounds, 1)]).await;
    let problem = assert_refused(&answer, 422, "mixed_currencies");
    assert_wrong_fields(&problem, &[("lines[1].sku", "mixed_currencies")]);

    let answer = place(&[(&dear, 10_000)]).await;
    let problem = assert_refused(&answer, 422, "total_too_large");
    assert_wrong_fields(&problem, &[("lines[0]", "total_too_large")]);

    let half: Vec<(&str, i64)> = (0..3).map(|_| (dear.as_str(), 5_000)).collect();
    let answer = place(&half).await;
    let problem = assert_refused(&answer, 422, "total_too_large");
    assert_wrong_fields(&problem, &[("lines", "total_too_large")]);
    shop.stock_becomes(&euros, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn a_list_that_is_asked_for_wrongly_is_refused() {
    let shop = Shop::open();
    for (path, field, code) in [
        ("/v1/orders?limit=0", "limit", "too_small"),
        ("/v1/orders?limit=101", "limit", "too_large"),
        ("/v1/orders?limit=x", "limit", "wrong_type"),
        ("/v1/orders?status=lost", "status", "unknown_value"),
        ("/v1/orders?limit=1&limit=2", "limit", "duplicate"),
        ("/v1/orders?limt=1", "limt", "unknown_field"),
        ("/v1/payments?order_id=x", "order_id", "invalid_id"),
        ("/v1/payments", "order_id", "required"),
    ] {
        let answer = shop.api.get(path).send().await.expect("an answer");
        assert_eq!(answer.status(), 422, "{path}: {}", answer.text());
        assert_wrong_fields(&assert_refused(&answer, 422, "validation_failed"), &[(field, code)]);
    }
    let answer = shop.api.get("/v1/orders?cursor=nonsense").send().await.expect("an answer");
    let _ = assert_refused(&answer, 400, "invalid_cursor");
    shop.close().await;
}

#[tokio::test]
async fn an_id_that_is_no_id_is_found_nowhere() {
    let shop = Shop::open();
    for (method, path) in [
        (Method::GET, "/v1/orders/7"),
        (Method::GET, "/v1/orders/7/history"),
        (Method::POST, "/v1/orders/7/cancel"),
        (Method::GET, "/v1/payments/7"),
        (Method::GET, "/v1/payments/0190b6a0-0000-7000-8000-000000000000"),
    ] {
        let answer = shop.api.call(method.clone(), path).send().await.expect("an answer");
        let code = if path.contains("payments") { "unknown_payment" } else { "unknown_order" };
        let _ = assert_refused(&answer, 404, code);
    }
    shop.close().await;
}
