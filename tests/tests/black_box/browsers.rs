//! What a web page of somebody else could make a browser send, and requests that mean two things.

use reqwest::Method;
use serde_json::json;
use towpath_client::{Answer, Call};
use towpath_tests::{Shop, Stack, assert_refused, assert_wrong_fields};

async fn sent(call: Call) -> Answer {
    call.send().await.expect("an answer")
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let shop = Shop::open();
    let product = shop.product().await;
    let order = serde_json::to_vec(&shop.order_for(&product.sku, 1)).expect("JSON");
    let bodies = [
        (Method::POST, "/v1/orders".to_owned(), order),
        (Method::POST, format!("/v1/orders/{}/cancel", product.id), br#"{"reason": "x"}"#.to_vec()),
        (Method::POST, "/v1/products".to_owned(), br#"{"sku": "x"}"#.to_vec()),
        (Method::PATCH, format!("/v1/products/{}", product.id), br#"{"name": "x"}"#.to_vec()),
        (
            Method::POST,
            format!("/v1/inventory/{}/adjustments", product.sku),
            br#"{"delta": 1, "reason": "x"}"#.to_vec(),
        ),
    ];
    for (method, path, body) in &bodies {
        let call = || {
            let call = shop.api.call(method.clone(), path).header("if-match", "\"1\"");
            call.header("idempotency-key", &Shop::fresh_key())
        };
        for wrong in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/json; charset=utf-16",
            "application/jsonp",
            "text/json",
            "",
        ] {
            let _ = assert_refused(&sent(call().body(wrong, body.clone())).await, 415, "unsupported_media_type");
        }
        // No type at all, and two of them.
        let untyped = shop.api.untyped(method.clone(), path, body.clone());
        let untyped = untyped.header("if-match", "\"1\"").header("idempotency-key", &Shop::fresh_key());
        let _ = assert_refused(&sent(untyped).await, 415, "unsupported_media_type");
        let twice = call().header("content-type", "application/json").body("text/plain", body.clone());
        let _ = assert_refused(&sent(twice).await, 415, "unsupported_media_type");
        let patched = sent(call().body("application/merge-patch+json", body.clone())).await;
        assert_eq!(patched.status() == 415, method != Method::PATCH, "{method} {path}: {}", patched.text());
    }
    let (_, path, order) = &bodies[0];
    for fine in ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        let call = shop.api.post(path).header("idempotency-key", &Shop::fresh_key()).body(fine, order.clone());
        let answer = sent(call).await;
        shop.remember(&answer);
        answer.expect(202).expect("an order");
    }
    let cancelled = shop.api.cancel(product.id).await.expect("an answer");
    let _ = assert_refused(&cancelled, 404, "unknown_order");
    shop.close().await;
}

#[tokio::test]
async fn only_names_of_this_machine_are_served() {
    let api = Stack::shared().api();
    for path in ["/healthz", "/v1/products", "/nowhere"] {
        for (method, host) in [
            (Method::GET, "evil.example"),
            (Method::POST, "evil.example:3000"),
            (Method::GET, "localhost.evil.example"),
            (Method::GET, "127.0.0.1.evil.example"),
            (Method::GET, "192.0.2.7"),
            (Method::GET, "[2001:db8::7]:80"),
            (Method::GET, "0.0.0.0"),
            (Method::DELETE, "order.spin.internal"),
        ] {
            let answer = sent(api.call(method, path).header("host", host)).await;
            let _ = assert_refused(&answer, 421, "misdirected_request");
        }
    }
    for host in ["localhost", "LOCALHOST:80", "shop.localhost", "127.0.0.1", "127.0.0.9:1", "[::1]"] {
        let answer = sent(api.get("/v1/products").header("host", host)).await;
        assert_eq!(answer.status(), 200, "{host}: {}", answer.text());
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let shop = Shop::open();
    let own = shop.stack.url.clone();
    for origin in [
        "https://evil.example",
        "http://evil.example:3000",
        "null",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
        "file://",
        "",
    ] {
        for (method, path) in [(Method::GET, "/v1/products"), (Method::POST, "/v1/orders"), (Method::GET, "/healthz")] {
            let call = shop.api.call(method, path).header("origin", origin);
            let _ = assert_refused(&sent(call).await, 403, "foreign_origin");
        }
        let twice = shop.api.get("/v1/products").header("origin", &own).header("origin", origin);
        let _ = assert_refused(&sent(twice).await, 403, "foreign_origin");
    }
    // A form that cancels an order has no body, and so no type.
    let order = shop.place(&shop.order_for(&shop.sku(1).await, 1)).await;
    let cancel = shop.api.post(&format!("/v1/orders/{}/cancel", order.id)).header("origin", "https://evil.example");
    let _ = assert_refused(&sent(cancel).await, 403, "foreign_origin");
    let answer = sent(shop.api.get("/v1/products").header("origin", &own)).await;
    assert_eq!(answer.status(), 200, "{own}: {}", answer.text());
    shop.close().await;
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused_and_named() {
    let shop = Shop::open();
    let product = shop.product().await;
    let (order, change) = ("/v1/orders".to_owned(), format!("/v1/products/{}", product.id));
    let stock = format!("/v1/inventory/{}/adjustments", product.sku);
    let cancel = format!("/v1/orders/{}/cancel", product.id);
    for (method, path, body, fields) in [
        (
            Method::POST,
            &order,
            r#"{"customer_id": "a", "customer_id": "b", "lines": [], "payment_method": "x"}"#,
            &["customer_id"][..],
        ),
        (
            Method::POST,
            &order,
            r#"{"lines": [{"sku": "A", "\u0073ku": "B"}], "lines": []}"#,
            &["lines[0].sku", "lines"],
        ),
        (Method::POST, &"/v1/products".to_owned(), r#"{"price": {"amount": 1, "amount": 2}}"#, &["price.amount"]),
        (Method::PATCH, &change, r#"{"name": "a", "name": null}"#, &["name"]),
        (Method::POST, &stock, r#"{"delta": 1, "reason": "r", "delta": -1}"#, &["delta"]),
        (Method::POST, &cancel, r#"{"reason": "a", "reason": "b", "other": {"x": 1, "x": 1}}"#, &["reason", "other.x"]),
    ] {
        let call =
            shop.api.call(method, path).header("if-match", "\"1\"").header("idempotency-key", &Shop::fresh_key());
        let problem = assert_refused(&sent(call.body("application/json", body)).await, 422, "validation_failed");
        let wrong: Vec<_> = fields.iter().map(|field| (*field, "duplicate")).collect();
        assert_wrong_fields(&problem, &wrong);
    }
    shop.close().await;
}

#[tokio::test]
async fn a_second_idempotency_key_is_refused() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    for (path, body) in [
        ("/v1/orders".to_owned(), serde_json::to_value(shop.order_for(&sku, 1)).expect("JSON")),
        (format!("/v1/inventory/{sku}/adjustments"), json!({ "delta": 1, "reason": "delivery" })),
    ] {
        for second in ["other", "first"] {
            let call = shop.api.post(&path).header("idempotency-key", "first").header("idempotency-key", second);
            let _ = assert_refused(&sent(call.json(&body)).await, 400, "idempotency_key_invalid");
        }
    }
    shop.close().await;
}
