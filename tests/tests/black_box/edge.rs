//! The edge itself.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towpath_client::ApiError;
use towpath_tests::{DEADLINE, Shop, Stack, assert_refused};

#[tokio::test]
async fn the_edge_is_alive() {
    let answer = Stack::shared().api().get("/healthz").send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_not_found() {
    let api = Stack::shared().api();
    for path in ["/", "/v1", "/v1/nothing", "/v1/orders/not-a-uuid/x", "/v2/orders", "/v1/products/"] {
        let answer = api.get(path).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
        let problem = answer.problem().expect("a problem document");
        assert_eq!(problem.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused() {
    let api = Stack::shared().api();
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/orders", &["GET", "POST"][..]),
        (Method::PUT, "/v1/products", &["GET", "POST"][..]),
        (Method::DELETE, "/v1/inventory/SKU", &["GET"][..]),
        (Method::POST, "/healthz", &["GET"][..]),
    ] {
        let answer = api.call(method.clone(), path).send().await.expect("an answer");
        let _ = assert_refused(&answer, 405, "method_not_allowed");
        let allow = answer.header("allow").expect("an Allow header");
        assert!(allowed.iter().all(|method| allow.contains(method)), "{method} {path}: allow: {allow}");
    }
}

#[tokio::test]
async fn nobody_outside_reaches_what_is_the_relays() {
    let api = Stack::shared().api();
    for path in [
        "/_relay",
        "/_relay/",
        "/_relay/order/events",
        "/_relay/payment/events",
        "/_relay/inventory/events",
        "/_relay/product/events",
        "/_relay/order/timers/expire-orders",
        "/_relay/nobody/events",
        "/%5Frelay/order/events",
        "//_relay/order/events",
        "/v1/../_relay/order/events",
    ] {
        for token in [None, Some("Bearer "), Some("Bearer guess"), Some("Basic Z3Vlc3M6Z3Vlc3M=")] {
            let mut call = api.post(path).body("application/json", "{}");
            for (name, value) in [("ce-id", "1"), ("ce-type", "order.placed"), ("ce-source", "/order")] {
                call = call.header(name, value);
            }
            if let Some(token) = token {
                call = call.header("authorization", token);
            }
            let answer = call.send().await.expect("an answer");
            assert!(matches!(answer.status(), 401 | 403 | 404), "{path} {token:?}: {}", answer.status());
        }
    }
}

/// On the listener for deliveries the token counts, and nothing is read of who has none.
#[tokio::test]
async fn a_delivery_without_the_token_is_refused_before_its_body_comes() {
    let address = Stack::shared().running().deliveries;
    for (path, authorization) in [
        ("/_relay/order/events", ""),
        ("/_relay/order/events", "authorization: Bearer guess\r\n"),
        ("/_relay/payment/events", "authorization: Bearer \r\n"),
        ("/_relay/inventory/events", ""),
        ("/_relay/order/timers/expire-orders", ""),
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("the listener for deliveries");
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: application/json\r\n");
        let half = format!("{head}content-length: 100000\r\n\r\n{{");
        stream.write_all(half.as_bytes()).await.expect("half a request");
        let mut status = [0; 12];
        let answered = tokio::time::timeout(DEADLINE, stream.read_exact(&mut status)).await;
        answered.expect("an answer without the body").expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 401", "{path} {authorization}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_not_read() {
    let api = Stack::shared().api();
    let place = async |bytes: usize| {
        let call = api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key());
        call.body("application/json", vec![b' '; bytes]).send().await
    };
    let fits = place(64 * 1024).await.expect("an answer");
    let _ = assert_refused(&fits, 400, "malformed_json");
    for bytes in [64 * 1024 + 1, 1024 * 1024] {
        let _ = assert_refused(&place(bytes).await.expect("an answer"), 413, "body_too_large");
    }
    // Beyond the host's own limit it is the host that refuses, for whatever application it runs; and whoever goes on
    // sending all the same may lose the connection before the answer.
    match place(16 * 1024 * 1024).await {
        Ok(answer) => {
            let problem = answer.problem().expect("a problem document");
            assert_eq!((answer.status(), problem.code.as_str()), (413, "body_too_large"));
        }
        Err(ApiError::NoAnswer { source, .. }) => assert!(source.is_request() && !source.is_timeout(), "{source:?}"),
        Err(cause) => panic!("{cause}"),
    }
}

#[tokio::test]
async fn headers_that_the_inside_trusts_do_not_come_in_from_outside() {
    // What the relay and the host add for components must mean nothing when a client sends it.
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.order_for(&sku, 1);
    let call = shop.api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key()).json(&order);
    let answer = call
        .header("spin-path-info", "/v1/products")
        .header("spin-full-url", "http://inventory.spin.internal/")
        .header("towpath-event-key", "x")
        .header("towpath-timer", "expire-orders")
        .send()
        .await
        .expect("an answer");
    shop.remember(&answer);
    answer.expect(202).expect("an order as any other");
    shop.close().await;
}
