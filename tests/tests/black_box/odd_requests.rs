//! Requests that no client of ours would send. Whatever comes, the answer is the sender's fault or none: never a 5xx, and
//! with a problem document wherever the request could be read at all.

use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towpath_tests::{DEADLINE, Stack};

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "M-SEARCH"];
const TARGETS: &[&str] = &[
    "/",
    "*",
    "/v1/orders",
    "/v1/orders?limit=-1&limit=2",
    "/v1/orders?cursor=%00",
    "/v1/orders?customer_id=%ff%fe",
    "/v1/orders/01890a5d-ac96-774b-bcce-b302099a8057/history",
    "/v1/orders/%00/cancel",
    "/v1/orders/../../etc/passwd",
    "/v1/products/%F0%9F%9B%B6",
    "/v1/products?sku='%20OR%201=1--",
    "/v1/inventory/%2e%2e%2f%00/adjustments",
    "/v1/payments?order_id=x",
    "/_relay/order/events",
    "/%5Frelay/payment/events",
    "//v1//orders//",
    "http://elsewhere.example/v1/orders",
    "/healthz?x=%zz",
    "/v1/orders#fragment",
];
const HEADERS: &[&str] = &[
    "",
    "idempotency-key: \u{e4}\r\n",
    "idempotency-key: k\r\nidempotency-key: l\r\n",
    "if-match: \"\r\nif-none-match: W/\r\n",
    "prefer: wait=99999999999999999999\r\n",
    "prefer: wait=-1, wait=\"x\r\n",
    "content-type: text/plain\r\n",
    "content-type: \u{fc}/json; charset=\"\r\n",
    "content-encoding: gzip\r\n",
    "expect: 200-maybe\r\n",
    "traceparent: 00-zz-zz-zz\r\ntowpath-traceparent: \r\ntracestate: ,,,\r\n",
    "host: two.example\r\n",
    "connection: upgrade, idempotency-key\r\nupgrade: websocket\r\n",
    "authorization: Bearer \u{0}\r\n",
    "x-request-id: ${jndi:ldap://x}\r\ncookie: a=b; =; ;;\r\n",
    "spin-client-addr: not an address\r\nspin-path-info: /x\r\n",
    "range: bytes=5-2\r\nte: trailers, gzip;q=2\r\n",
];
const BODIES: &[&[u8]] = &[
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{\"customer_id\":",
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    br#"{"customer_id":"\ud800","lines":[{"sku":"A","quantity":1e999}],"payment_method":"x"}"#,
    br#"{"customer_id":"c","customer_id":"d","lines":[{"sku":"A","quantity":1.5}],"payment_method":"pm"}"#,
    br#"{"delta":9223372036854775808,"reason":"\u0000"}"#,
    br#"{"sku":"A","name":"n","price":{"amount":-9223372036854775809,"currency":"eur"}}"#,
];

/// Sends bytes and reads until the edge hangs up. `ends`: it hears that no more will come.
async fn exchange(address: &str, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the edge listens");
    let mut answer = Vec::new();
    let exchanged = timeout(DEADLINE, async {
        // The edge may hang up before it has read all.
        let _ = stream.write_all(bytes).await;
        if ends {
            let _ = stream.shutdown().await;
        }
        let _ = stream.read_to_end(&mut answer).await;
    });
    assert!(exchanged.await.is_ok(), "no answer to {:?}", String::from_utf8_lossy(bytes));
    answer
}

/// Checks an answer: its status, and its body where it has one.
fn is_no_fault_of_ours(request: &[u8], answer: &[u8]) {
    let (request, answer) = (String::from_utf8_lossy(request), String::from_utf8_lossy(answer));
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        assert!(answer.is_empty(), "{request:?}: half an answer: {answer:?}");
        return;
    };
    let status: u16 = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    // The edge makes no tunnels.
    let is_tunnel = status == 501 && request.starts_with("CONNECT ");
    assert!((200..500).contains(&status) || is_tunnel, "{request:?}: {answer}");
    if status >= 400 && !body.is_empty() {
        let kind = head.to_ascii_lowercase();
        assert!(kind.contains("content-type: application/problem+json"), "{request:?}: {answer}");
        let problem: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{request:?}: {error}: {answer}"));
        assert_eq!(problem["status"], status, "{request:?}");
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{request:?}: {answer}");
    }
}

fn request(method: &str, target: &str, header: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn no_request_makes_the_edge_fail() {
    let stack = Stack::shared();
    let address = stack.url.trim_start_matches("http://");
    // Each kind of thing with each target, and not everything with everything.
    for (at, target) in TARGETS.iter().enumerate() {
        let one = |from: usize, step: usize, count: usize| (from * step + at) % count;
        let methods = METHODS.iter().enumerate().map(|(n, method)| {
            request(method, target, HEADERS[one(n, 5, HEADERS.len())], BODIES[one(n, 3, BODIES.len())])
        });
        let headers = HEADERS.iter().map(|header| request("POST", target, header, b"{}"));
        let bodies = BODIES.iter().map(|body| request("POST", target, "idempotency-key: k\r\n", body));
        let all: Vec<_> = methods.chain(headers).chain(bodies).collect();
        let exchanges = all.iter().map(|request| exchange(address, request, false));
        let answers: Vec<_> = stream::iter(exchanges).buffered(8).collect().await;
        for (request, answer) in all.iter().zip(&answers) {
            assert!(!answer.is_empty(), "no answer to {:?}", String::from_utf8_lossy(request));
            is_no_fault_of_ours(request, answer);
        }
    }
}

#[tokio::test]
async fn no_noise_makes_the_edge_fail() {
    let stack = Stack::shared();
    let address = stack.url.trim_start_matches("http://");
    let order = "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\nidempotency-key: k\r\nconnection: close\r\n";
    let many: String = (0..150).map(|n| format!("x-{n}: v\r\n")).collect();
    let long = "x".repeat(70_000);
    for noise in [
        String::from("\r\n\r\n"),
        String::from("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}"),
        String::from("GET\r\n\r\n"),
        String::from("GET / HTTP/9.9\r\n\r\n"),
        String::from("GET / HTTP/1.1\r\n\r\n"),
        String::from("GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"),
        String::from("GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        format!("GET /v1/orders?{long} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{many}\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {long}\r\n\r\n"),
        format!("{order}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        format!("{order}content-length: -1\r\n\r\n"),
        format!("{order}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{order}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        format!("{order}transfer-encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{order}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
    ] {
        is_no_fault_of_ours(noise.as_bytes(), &exchange(address, noise.as_bytes(), true).await);
    }
}
