//! Who may call, and what the answer is when something is wrong with a call.

use serde_json::{Value, json};

use crate::support::{Answer, ServiceSetup, Setup, TestRelay, answer};

async fn relay() -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).service(ServiceSetup::new("beta"));
    let relay = setup.start().await;
    (setup, relay)
}

/// Every problem is a whole problem document, whatever it is about.
#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = &answer.body;
    let kind = format!("https://towpath.dev/problems/{}", code.replace('_', "-"));
    assert_eq!((body["type"].as_str(), body["status"].as_u64()), (Some(kind.as_str()), Some(status.into())));
    assert!(body["title"].is_string() && body["detail"].is_string() && body["retryable"].is_boolean());
    assert!(matches!(body["fault"].as_str(), Some("caller" | "dependency" | "relay")));
    assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
}

#[tokio::test]
async fn a_call_shows_a_token_that_the_relay_knows() {
    let (setup, relay) = relay().await;
    let url = format!("{}/v1/cache/k", relay.url);
    let good = setup.token("alpha");
    let basic = format!("Basic {good}");
    for header in ["", "Bearer", "Bearer ", "Bearer nobody-s-token", basic.as_str(), good.as_str()] {
        let answer = answer(relay.http.get(&url).header("authorization", header)).await;
        is_problem(&answer, 401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    is_problem(&answer(relay.http.get(&url)).await, 401, "unauthorized");
    let lower = answer(relay.http.get(&url).header("authorization", format!("bearer {good}"))).await;
    is_problem(&lower, 404, "cache_miss");
    relay.stop().await;
}

#[tokio::test]
async fn the_token_decides_whose_keys_are_meant() {
    let (_setup, relay) = relay().await;
    let entry = json!({"value": "alpha's", "ttl_ms": 60_000});
    assert_eq!(relay.call("alpha", "PUT", "/v1/cache/shared", entry).await.status, 204);
    is_problem(&relay.call("beta", "GET", "/v1/cache/shared", Value::Null).await, 404, "cache_miss");
    assert_eq!(relay.call("beta", "DELETE", "/v1/cache/shared", Value::Null).await.status, 204);
    assert_eq!(relay.call("alpha", "GET", "/v1/cache/shared", Value::Null).await.body["value"], "alpha's");
    let bucket = json!({"rate": 1, "period_ms": 3_600_000, "burst": 1});
    for service in ["alpha", "beta"] {
        let answer = relay.call(service, "POST", "/v1/rate-limits/shared", bucket.clone()).await;
        assert_eq!(answer.body["allowed"], true, "{service} has a bucket of its own");
    }
    relay.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let (_setup, relay) = relay().await;
    for (method, path) in [("GET", "/"), ("POST", "/v2/transactions"), ("GET", "/v1/cache/"), ("GET", "/v1/cache/a/b")]
    {
        let answer = relay.call("alpha", method, path, Value::Null).await;
        is_problem(&answer, 404, "not_found");
        assert!(answer.body["detail"].as_str().unwrap().contains(path), "{answer:?}");
    }
    for (method, path) in [("GET", "/v1/transactions"), ("POST", "/v1/cache/k"), ("DELETE", "/v1/queries")] {
        let answer = relay.call("alpha", method, path, Value::Null).await;
        is_problem(&answer, 405, "method_not_allowed");
        assert!(answer.body["detail"].as_str().unwrap().contains(method), "{answer:?}");
    }
    is_problem(&answer(relay.http.get(format!("{}/", relay.url))).await, 401, "unauthorized");
    relay.stop().await;
}

#[tokio::test]
async fn a_path_says_which_methods_it_has() {
    let (_setup, relay) = relay().await;
    for (path, methods) in [
        ("/v1/transactions", "POST"),
        ("/v1/queries", "POST"),
        ("/v1/cache/k", "GET,HEAD,PUT,DELETE"),
        ("/v1/rate-limits/k", "POST"),
        ("/v1/openapi.json", "GET,HEAD"),
    ] {
        for method in ["TRACE", "OPTIONS", "PATCH", "PURGE"] {
            let answer = relay.call("alpha", method, path, Value::Null).await;
            is_problem(&answer, 405, "method_not_allowed");
            assert_eq!(answer.header("allow"), methods, "{method} {path}");
        }
    }
    // Whoever shows no token learns nothing, except of the description, which is for everybody.
    let patch = |path: &str| answer(relay.http.patch(format!("{}{path}", relay.url)));
    is_problem(&patch("/v1/queries").await, 401, "unauthorized");
    is_problem(&patch("/v1/openapi.json").await, 405, "method_not_allowed");
    relay.stop().await;
}

#[tokio::test]
async fn what_can_be_got_can_be_asked_for_its_head() {
    let (_setup, relay) = relay().await;
    let entry = json!({"value": 1, "ttl_ms": 60_000});
    assert_eq!(relay.call("alpha", "PUT", "/v1/cache/k", entry).await.status, 204);
    let head = relay.call("alpha", "HEAD", "/v1/cache/k", Value::Null).await;
    assert_eq!((head.status, &head.body, head.header("content-type")), (200, &Value::Null, "application/json"));
    assert_eq!(relay.call("alpha", "HEAD", "/v1/cache/other", Value::Null).await.status, 404);
    let description = answer(relay.http.head(format!("{}/v1/openapi.json", relay.url))).await;
    assert_eq!((description.status, description.body), (200, Value::Null), "without a token");
    relay.stop().await;
}

#[tokio::test]
async fn a_body_is_json_without_a_coding() {
    let (_setup, relay) = relay().await;
    let put = |name: &str, value: &str| {
        let body = "{\"value\": 1, \"ttl_ms\": 60000}";
        answer(relay.request("alpha", "PUT", "/v1/cache/k").header(name, value).body(body))
    };
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=latin1"),
        ("content-encoding", "gzip"),
    ] {
        let answer = put(name, value).await;
        is_problem(&answer, 415, "unsupported_media_type");
        assert_eq!((answer.header("accept"), answer.header("accept-encoding")), ("application/json", "identity"));
    }
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-type", "application/json; charset=utf-8"),
        ("content-encoding", "identity"),
        ("accept", "text/html"),
    ] {
        assert_eq!(put(name, value).await.status, 204, "{name}: {value}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_with_the_field_named() {
    let (_setup, relay) = relay().await;
    for (method, path, body, part) in [
        ("PUT", "/v1/cache/k", "", "isn't JSON"),
        ("PUT", "/v1/cache/k", "{\"value\": 1, \"ttl_ms\": 5} x", "can't be read"),
        ("PUT", "/v1/cache/k", "{\"value\": 1}", "missing field `ttl_ms`"),
        (
            "PUT",
            "/v1/cache/k",
            "{\"value\": 1, \"ttl_ms\": \"5\"}",
            "ttl_ms must be an integer from 0 on, not the string",
        ),
        ("PUT", "/v1/cache/k", "{\"value\": 1, \"ttl_ms\": 5, \"tag\": 1}", "tag: unknown field `tag`"),
        (
            "PUT",
            "/v1/cache/k",
            "{\"value\": 1, \"ttl_ms\": 5, \"tags\": [1]}",
            "tags[0] must be a string, not the number 1",
        ),
        ("PUT", "/v1/cache/k", "{\"value\": 1, \"ttl_ms\": 0}", "ttl_ms must be at least 1"),
        ("POST", "/v1/transactions", "{\"steps\": [{\"sql\": \"SELECT 1\", \"expct\": 1}]}", "steps[0].expct: unknown"),
        (
            "POST",
            "/v1/queries",
            "{\"sql\": \"SELECT 1\", \"consistency\": \"weak\"}",
            "consistency: unknown value `weak`",
        ),
        ("POST", "/v1/rate-limits/k", "[1, 2]", "must be an object, not an array"),
        ("POST", "/v1/transactions", "{\"steps\": [[\"SELECT 1\"]]}", "steps[0] must be an object, not an array"),
        ("POST", "/v1/queries", "{\"sql\": \"SELECT 1\", \"cache\": [5]}", "cache must be an object, not an array"),
        (
            "POST",
            "/v1/rate-limits/k",
            "{\"rate\": -1, \"period_ms\": 1, \"burst\": 1}",
            "rate must be an integer from 0 on, not the number -1",
        ),
    ] {
        let answer =
            answer(relay.request("alpha", method, path).header("content-type", "application/json").body(body)).await;
        is_problem(&answer, 400, "malformed_request");
        assert!(answer.body["detail"].as_str().unwrap().contains(part), "{body}: {answer:?}");
    }
    is_problem(&relay.call("alpha", "GET", "/v1/cache/%ff", Value::Null).await, 400, "malformed_request");
    relay.stop().await;
}

#[tokio::test]
async fn a_service_without_a_database_is_told_so() {
    let (_setup, relay) = relay().await;
    let step = json!({"steps": [{"sql": "SELECT 1"}]});
    is_problem(&relay.transaction("alpha", step).await, 403, "forbidden");
    is_problem(&relay.query("alpha", json!({"sql": "SELECT 1"})).await, 403, "forbidden");
    relay.stop().await;
}
