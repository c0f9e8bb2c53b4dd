//! What the services read from outside: bodies, headers, queries and paths of the public API.

use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use towpath_gateway::domain::{Route, client, passed_on, route, timeout};
use towpath_inventory::domain::Adjustment;
use towpath_order::domain::placing::{Draft, MAX_LINES, MAX_QUANTITY};
use towpath_product::domain::{MAX_LIMIT, NewProduct, PageRequest, Patch};
use towpath_sdk::etag::{IfMatch, is_not_modified};
use towpath_sdk::{Cursor, Id, IdempotencyKey, Problem, Request, Time, Trace, prefer, request_hash};

use crate::input::{headers, message};
use crate::target;

const JSON: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "0",
    "1e3",
    "1.0",
    "9223372036854775808",
    "\\u0000",
    "\\u202e",
    "\u{e9}",
    ",",
    ":",
    "\"quantity\":",
    "\"sku\":",
    "\"price\":{\"amount\":1,\"currency\":\"EUR\"}",
    "\"EUR\"",
    "\"description\":null",
    "{\"lines\":[",
    "[[[[[[[[",
];

/// A refusal is the caller's fault, and says which field; it never tells more than a client may know.
fn is_refusal(problem: &Problem) {
    assert!((400..500).contains(&problem.status), "{problem:?}");
    assert!(!problem.code.is_empty() && !problem.detail.is_empty(), "{problem:?}");
    if problem.code == "validation_failed" {
        assert!(!problem.errors.is_empty(), "{problem:?}");
        assert!(problem.errors.iter().all(|error| !error.code.is_empty() && !error.detail.is_empty()), "{problem:?}");
    }
    let response = problem.clone().into_response();
    assert_eq!(response.status(), problem.status);
    let document: Value = serde_json::from_slice(response.body()).expect("a problem is JSON");
    assert_eq!(document["code"], problem.code);
}

fn post(path: &str, body: &[u8]) -> Request {
    let headers = [(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))];
    Request::new(Method::POST, path, headers.into_iter().collect(), body.to_vec())
}

/// What was read, written as the body of another request, is read as the same; and both have one hash.
fn reads_back<T: Serialize + PartialEq + std::fmt::Debug>(
    read: &T,
    again: impl FnOnce(&Request) -> Result<T, Problem>,
) {
    let body = serde_json::to_vec(read).expect("JSON");
    let again = again(&post("/", &body)).expect("what was read is right");
    assert_eq!(&again, read);
    assert_eq!(request_hash("fuzz", &again), request_hash("fuzz", read));
}

target!(
    /// `POST /v1/orders`.
    "api" order(read_order), JSON
);

fn read_order(bytes: &[u8]) {
    match post("/v1/orders", bytes).read_body(Draft::read) {
        Err(problem) => is_refusal(&problem),
        Ok(draft) => {
            assert!((1..=MAX_LINES).contains(&draft.lines.len()));
            assert!(draft.lines.iter().all(|line| (1..=MAX_QUANTITY).contains(&line.quantity) && !line.sku.is_empty()));
            assert!(draft.skus().len() <= draft.lines.len());
            reads_back(&draft, |request| request.read_body(Draft::read));
        }
    }
}

target!(
    /// `POST /v1/products`, and `PATCH` of one: a patch that is taken twice changes nothing the second time.
    "api" product(read_product), JSON
);

fn read_product(bytes: &[u8]) {
    let request = post("/v1/products", bytes);
    match request.read_body(NewProduct::read) {
        Err(problem) => is_refusal(&problem),
        Ok(new) => {
            let product = new.into_product(Id::new(), Time::now());
            assert!(product.version == 1 && product.price.amount >= 0 && !product.sku.is_empty());
        }
    }
    let thing = br#"{"sku":"A","name":"a","price":{"amount":1,"currency":"EUR"}}"#;
    let old = post("/", thing).read_body(NewProduct::read).expect("right").into_product(Id::new(), Time::now());
    match request.read_body(Patch::read) {
        Err(problem) => is_refusal(&problem),
        Ok(patch) => {
            let new = patch.apply(&old, Time::now());
            assert!(new.sku == old.sku && new.id == old.id);
            let again = request.read_body(Patch::read).expect("as before").apply(&new, Time::now());
            assert_eq!(again, new);
        }
    }
}

target!(
    /// `POST /v1/inventory/{sku}/adjustments`.
    "api" adjustment(read_adjustment), JSON
);

fn read_adjustment(bytes: &[u8]) {
    match post("/v1/inventory/A/adjustments", bytes).read_body(Adjustment::read) {
        Err(problem) => is_refusal(&problem),
        Ok(adjustment) => {
            assert!(adjustment.delta != 0 && !adjustment.reason.is_empty());
            reads_back(&adjustment, |request| request.read_body(Adjustment::read));
        }
    }
}

target!(
    /// Headers that clients may send: what is understood stays within its bounds, and what only we may say goes no further.
    "api" headers_of_a_client(read_headers),
    &["prefer: wait=", "if-match: ", "if-none-match: W/\"1\"", "idempotency-key: ", "connection: ", "towpath-", "spin-client-addr: ", "ce-id: ", "99999999999", "\"", ",", ";", "*", "[::ffff:1.2.3.4]:5", "\t"]
);

fn read_headers(bytes: &[u8]) {
    let (fields, _) = message(bytes);
    let request = Request::new(Method::POST, "/v1/orders", headers(&fields), "");
    let longest = Duration::from_secs(30);
    assert!(prefer::wait(&request, longest).is_none_or(|wait| !wait.is_zero() && wait <= longest));
    assert!(timeout(&request) <= Duration::from_secs(60));
    match IdempotencyKey::required(&request) {
        Err(problem) => is_refusal(&problem),
        Ok(key) => assert!(!key.as_str().is_empty() && key.within("order.place", Some("customer")).len() <= 255),
    }
    match IfMatch::required(&request).and_then(|tags| tags.check(7)) {
        Err(problem) => is_refusal(&problem),
        Ok(()) => assert!(request.headers().contains_key("if-match")),
    }
    let _ = is_not_modified(&request, 7);
    assert_eq!(Trace::of(request.headers()).id().len(), 32);
    assert!(client(&request).starts_with("client:"));
    let further = passed_on(request.headers());
    for name in further.keys().map(http::HeaderName::as_str) {
        let ours = ["spin-", "towpath-", "ce-"].iter().any(|prefix| name.starts_with(prefix));
        assert!(
            !ours && !["connection", "host", "content-length", "transfer-encoding", "te"].contains(&name),
            "{name}"
        );
    }
    assert_eq!(passed_on(&further), further);
}

target!(
    /// Paths and queries: nothing leads to the relay's routes, and a page has its bounds.
    "api" target_of_a_request(read_target),
    &["/", "//", "/v1/", "orders", "products", "%2F", "%2e%2e", "%00", "%", "?", "&", "limit=", "cursor=", "sku=", "_relay", "%5Frelay", "=", "#", "\\"]
);

fn read_target(bytes: &[u8]) {
    let Ok(target) = std::str::from_utf8(bytes) else { return };
    for method in [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS] {
        let request = Request::new(method, target, HeaderMap::new(), "");
        let segments = request.segments();
        match route(&request) {
            Err(problem) => is_refusal(&problem),
            Ok(Route::Health) => assert_eq!(*segments.each(), ["healthz"]),
            Ok(Route::Service(_)) => assert_eq!(segments.each()[0], "v1", "{target:?}"),
        }
    }
    match Request::new(Method::GET, target, HeaderMap::new(), "").read_query(PageRequest::read) {
        Err(problem) => is_refusal(&problem),
        Ok(page) => {
            assert!((1..=MAX_LIMIT).contains(&page.limit));
            if let Some(cursor) = &page.cursor {
                read_cursor(&page.list(), cursor);
            }
        }
    }
}

/// A cursor is one of ours, or none.
fn read_cursor(list: &str, cursor: &str) {
    match Cursor::decode::<Id>(list, cursor) {
        Err(problem) => is_refusal(&problem),
        Ok(id) => assert_eq!(Cursor::encode(list, &id), cursor),
    }
}
