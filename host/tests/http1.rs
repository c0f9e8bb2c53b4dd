//! HTTP/1 as clients speak it, well and badly: a corpus of odd requests, and the answer that the RFCs name for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use common::raw::exchange_and_close as exchange;
use common::{Host, Setup};

/// The status of each answer.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).and_then(|status| status.parse().ok()).unwrap_or_default()).collect()
}

#[tokio::test]
async fn odd_requests_of_http_1_get_the_answer_that_the_rfc_names() {
    let host = Host::start().await;
    let cases: &[(&str, &[u16])] = &[
        // What is unusual and right (RFC 9112, sections 2.2, 3, 6, 7, 9).
        ("GET /hello HTTP/1.0\r\n\r\n", &[200]),
        ("GET /hello HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", &[200]),
        ("\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("GET /hello HTTP/1.1\nhost: a\n\n", &[200]),
        ("GET http://a/hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("GET /hello HTTP/1.1\r\nHOST:a\r\nx-empty:\r\n\r\n", &[200]),
        ("GET /hello HTTP/1.1\r\nhost: \t a \t \r\n\r\n", &[200]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200, 200]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("PURGE /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", &[200]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nabcde", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nabcde", &[200]),
        (
            "POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n5;ext=\"v\"\r\nabcde\r\n0\r\nx-trailer: t\r\n\r\n",
            &[200],
        ),
        ("POST /sum HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nabcde", &[100, 200]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\n\r\n", &[200]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\nabcde", &[100, 200]),
        ("OPTIONS /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        // The server itself, which nothing but OPTIONS is for (RFC 9112, section 3.2.4).
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[204, 200]),
        ("OPTIONS * HTTP/1.0\r\n\r\n", &[204]),
        ("OPTIONS * HTTP/1.1\r\n\r\n", &[400]),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("OPTIONS *a HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        // Other schemes (RFC 9110, sections 7.4 and 15.5.20), and tunnels (section 9.3.6).
        ("GET ftp://a/hello HTTP/1.1\r\nhost: a\r\n\r\n", &[421]),
        ("GET ws://a/hello HTTP/1.1\r\nhost: a\r\n\r\n", &[421]),
        ("GET https://a/hello HTTP/1.1\r\nhost: a\r\n\r\n", &[200]),
        ("GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("GET hello HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", &[501]),
        ("CONNECT /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[501]),
        // Expectations that nobody meets (RFC 9110, section 10.1.1).
        ("POST /sum HTTP/1.1\r\nhost: a\r\nexpect: more\r\ncontent-length: 5\r\n\r\nabcde", &[417]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nexpect: 100-continue, more\r\n\r\n", &[417]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nexpect: more\r\n\r\n", &[417]),
        // No single host (RFC 9112, section 3.2).
        ("GET /hello HTTP/1.1\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a b\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a@localhost\r\n\r\n", &[400]),
        ("GET http://a@localhost/hello HTTP/1.1\r\nhost: localhost\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a:b\r\n\r\n", &[400]),
        // No request line.
        ("GET\r\n\r\n", &[400]),
        ("GET /hello\r\n\r\n", &[400]),
        ("GET  /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("GET /hello HTTP/9.9\r\nhost: a\r\n\r\n", &[400]),
        ("GET /hello http/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("G@T /hello HTTP/1.1\r\nhost: a\r\n\r\n", &[400]),
        ("\0\0\0\0", &[400]),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03", &[400]),
        // No header (RFC 9112, section 5).
        ("GET /hello HTTP/1.1\r\nhost : a\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\n host: a\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nx: one\r\n two\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", &[400]),
        // Two ways to frame a body, or a wrong one (RFC 9112, section 6): smuggling.
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nabcde", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nabcde", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400]),
        (
            "POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        (
            "POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
            &[400],
        ),
        // Both ways at once: chunks count, and the connection ends, since others may see another request behind them.
        (
            "POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
        ),
        (
            "POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n\
             GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
        ),
        ("POST /sum HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcdefg\r\n0\r\n\r\n", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", &[400]),
        // Half a request.
        ("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nabcde", &[400]),
        ("POST /sum HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", &[400]),
        ("GET /hello HTTP/1.1\r\nhost: a\r\n", &[]),
        ("", &[]),
    ];
    let mut wrong = Vec::new();
    for (request, expected) in cases {
        let answer = exchange(host.address(), request.as_bytes());
        if statuses(&answer) != *expected {
            wrong.push(format!("{request:?}: expected {expected:?}, not {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(host.get("/hello").await.0, 200, "none of them harms others");
}

#[tokio::test]
async fn every_refusal_of_http_1_is_a_problem_document() {
    let host = Setup::new().args(&["--max-header-bytes", "16KiB", "--max-headers", "20"]).start().await;
    let get = |fields: &str| format!("GET /hello HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let many = |count: usize| get(&(0..count).map(|n| format!("x-{n}: v\r\n")).collect::<String>());
    let long = |length: usize| get(&format!("x: {}\r\n", "v".repeat(length)));
    for (request, status, code) in [
        (many(30), 431, "headers_too_large"),
        (many(50), 431, "headers_too_large"),
        (many(5000), 431, "headers_too_large"),
        (long(20 << 10), 431, "headers_too_large"),
        (long(40 << 10), 431, "headers_too_large"),
        (long(1 << 20), 431, "headers_too_large"),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(200 << 10)), 431, "headers_too_large"),
        ("GET /hello HTTP/1.1\r\nhost: a\r\nx\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 421, "misdirected_request"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n".to_owned(), 501, "method_not_implemented"),
        (get("expect: more\r\n"), 417, "expectation_failed"),
    ] {
        let answer = exchange(host.address(), request.as_bytes());
        let begin = &request[..request.len().min(80)];
        assert_eq!(statuses(&answer), [status], "{begin:?}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let document: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{begin:?}: {answer}"));
        assert_eq!((&document["code"], &document["status"]), (&code.into(), &status.into()), "{begin:?}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/problem+json"), "{begin:?}: {head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{begin:?}: {head}");
    }
}

#[tokio::test]
async fn the_response_to_head_has_no_body() {
    let host = Host::start().await;
    for path in HEADS {
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(host.address(), head.as_bytes());
        assert!(answer.ends_with("\r\n\r\n") && !answer.contains("content-length: 0"), "{path}: {answer}");
    }
    let preface = exchange(host.address(), b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(statuses(&preface).iter().all(|status| *status == 400), "no preface of HTTP/2: {preface}");
}

/// Paths whose responses have a body for GET.
const HEADS: [&str; 4] = ["/hello", "/sized?bytes=5&length=5", "/.well-known/spin/other", "/.well-known/spin/health"];
