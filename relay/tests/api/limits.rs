//! Limits of requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ServiceSetup, Setup, TestRelay, answer, eventually};

async fn relay(limits: &str) -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).toml(&format!("[limits]\n{limits}"));
    let relay = setup.start().await;
    (setup, relay)
}

/// Begins a request whose body doesn't come.
async fn half_a_request(setup: &Setup, relay: &TestRelay) -> TcpStream {
    let mut stream = TcpStream::connect(relay.running.address).await.unwrap();
    let token = setup.token("alpha");
    let head =
        format!("PUT /v1/cache/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_may_have_so_many_bytes() {
    let (_setup, relay) = relay("body_bytes = 2048").await;
    let large = json!({"value": "x".repeat(2048), "ttl_ms": 1000}).to_string();
    let said = answer(relay.request("alpha", "PUT", "/v1/cache/k").body(large.clone())).await;
    assert_eq!((said.status, said.code()), (413, "limit_exceeded"), "{said:?}");
    assert!(said.body["detail"].as_str().unwrap().contains("limits.body_bytes = 2048"), "{said:?}");
    // In pieces, so that its size isn't known beforehand.
    let pieces: Vec<Result<String, std::io::Error>> =
        large.as_bytes().chunks(100).map(|p| Ok(String::from_utf8_lossy(p).into())).collect();
    let body = reqwest::Body::wrap(http_body_util::StreamBody::new(futures::stream::iter(
        pieces.into_iter().map(|piece| piece.map(|piece| hyper::body::Frame::data(bytes::Bytes::from(piece)))),
    )));
    let said = answer(relay.request("alpha", "PUT", "/v1/cache/k").body(body)).await;
    assert_eq!((said.status, said.code()), (413, "limit_exceeded"), "{said:?}");
    relay.stop().await;
}

#[tokio::test]
async fn keys_values_tags_and_times_have_limits() {
    let (_setup, relay) = relay("key_bytes = 20\ncache_value_bytes = 1024\ncache_ttl_ms = 5000\ncache_tags = 2").await;
    let long = "k".repeat(21);
    let entry = |value: &str, ttl: u64, tags: Value| json!({"value": value, "ttl_ms": ttl, "tags": tags});
    for (path, body, limit) in [
        (format!("/v1/cache/{long}"), entry("v", 1, json!([])), "key_bytes"),
        ("/v1/cache/k".into(), entry(&"v".repeat(1023), 1, json!([])), "cache_value_bytes"),
        ("/v1/cache/k".into(), entry("v", 5001, json!([])), "cache_ttl_ms"),
        ("/v1/cache/k".into(), entry("v", 1, json!(["a", "b", "c"])), "cache_tags"),
        ("/v1/cache/k".into(), entry("v", 1, json!([long])), "key_bytes"),
    ] {
        let said = relay.call("alpha", "PUT", &path, body).await;
        assert_eq!((said.status, said.code()), (413, "limit_exceeded"), "{limit}: {said:?}");
        assert!(said.body["detail"].as_str().unwrap().contains(&format!("limits.{limit} = ")), "{said:?}");
    }
    assert_eq!(
        relay.call("alpha", "PUT", "/v1/cache/k", entry(&"v".repeat(1022), 5000, json!(["a", "b"]))).await.status,
        204
    );
    relay.stop().await;
}

#[tokio::test]
async fn a_service_has_so_many_requests_at_once() {
    let (setup, relay) = relay("requests_in_flight = 2").await;
    let held = [half_a_request(&setup, &relay).await, half_a_request(&setup, &relay).await];
    let said = eventually("the third request is turned away", async || {
        let said = relay.call("alpha", "GET", "/v1/cache/k", Value::Null).await;
        if said.status == 503 { Ok(said) } else { Err(said) }
    })
    .await;
    assert_eq!((said.code(), said.header("retry-after")), ("overloaded", "1"), "{said:?}");
    assert_eq!(said.body["retryable"], true);
    // Callers that go away give their places back.
    drop(held);
    eventually("the places are free again", async || {
        let said = relay.call("alpha", "GET", "/v1/cache/k", Value::Null).await;
        if said.status == 404 { Ok(()) } else { Err(said) }
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn a_body_has_so_much_time() {
    let (setup, relay) = relay("body_read_timeout_ms = 100").await;
    let mut stream = half_a_request(&setup, &relay).await;
    let mut said = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), async {
        while !said.contains("didn't arrive") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "closed after {said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    read.await.expect("an answer in time");
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("\"code\":\"request_timeout\""), "{said}");
    relay.stop().await;
}

#[tokio::test]
async fn a_head_has_so_many_bytes() {
    let (_setup, relay) = relay("header_bytes = 8192").await;
    let large = relay.request("alpha", "GET", "/v1/cache/k").header("x-large", "x".repeat(9000));
    assert_eq!(answer(large).await.status, 431);
    relay.stop().await;
}

#[tokio::test]
async fn who_does_not_read_an_answer_loses_it_and_its_connection() {
    let limits = "write_timeout_ms = 200\nheader_read_timeout_ms = 600000\nconnections = 2\nbody_bytes = 33554432\ncache_value_bytes = 33554432\nredis_timeout_ms = 30000";
    let (setup, relay) = relay(limits).await;
    // More than the kernel keeps between the two.
    let value = json!({"value": "x".repeat(24 << 20), "ttl_ms": 60_000});
    assert_eq!(relay.call("alpha", "PUT", "/v1/cache/k", value).await.status, 204);
    let token = setup.token("alpha");
    let get = |key: &str| format!("GET /v1/cache/{key} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut unread = TcpStream::connect(relay.running.address).await.unwrap();
    unread.write_all(get("k").as_bytes()).await.unwrap();
    unread.read_exact(&mut [0; 12]).await.unwrap();
    // Both places for connections are taken, by the client that put the value and by the one that doesn't read it.
    let mut next = TcpStream::connect(relay.running.address).await.unwrap();
    next.write_all(get("other").as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(30), next.read_exact(&mut [0; 12])).await;
    answered.expect("the place is free again").unwrap();
    let mut rest = Vec::new();
    let _ = unread.read_to_end(&mut rest).await;
    assert!(rest.len() < 24 << 20, "it was cut off: {}", rest.len());
    relay.stop().await;
}
