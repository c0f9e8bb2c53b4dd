//! A server that lists as Stripe does: newest first, in pages, to whoever shows the key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

/// The key that it takes.
pub(crate) const KEY: &str = "rk_test_books";

/// What it has, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) intents: Vec<Value>,
    pub(crate) refunds: Vec<Value>,
}

/// A running one.
pub(crate) struct Stripe {
    pub(crate) url: String,
    /// The lists that were asked for.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// How many requests are refused with 429 before the next is answered.
    pub(crate) busy: Arc<AtomicU32>,
}

impl Stripe {
    pub(crate) async fn with(books: Books) -> Self {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, busy) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(0)));
        let (all, log, full) = (Arc::new(books), asked.clone(), busy.clone());
        let answer = move |uri: Uri, headers: HeaderMap| {
            log.lock().expect("nobody panics while holding it").push(uri.to_string());
            let is_busy = full.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let answer = if is_busy { refusal(429, "Too many requests") } else { list(&all, &uri, &headers) };
            async move { answer }
        };
        let routes = axum::Router::new().fallback(get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, asked, busy }
    }
}

fn list(books: &Books, uri: &Uri, headers: &HeaderMap) -> Response {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Bearer {KEY}")) {
        return refusal(401, "Invalid API Key provided");
    }
    let objects = match uri.path() {
        "/v1/payment_intents" => &books.intents,
        "/v1/refunds" => &books.refunds,
        _ => return refusal(404, "Unrecognized request URL"),
    };
    let url = reqwest::Url::parse(&format!("http://stripe{uri}")).expect("a URL");
    let given = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let limit: usize = given("limit").map_or(10, |text| text.parse().expect("a number"));
    if !(1..=100).contains(&limit) {
        return refusal(400, "Invalid limit");
    }
    let from = match given("starting_after") {
        None => 0,
        Some(id) => match objects.iter().position(|object| object["id"] == *id) {
            None => return refusal(400, "No such object"),
            Some(at) => at + 1,
        },
    };
    let page: Vec<_> = objects.iter().skip(from).take(limit).collect();
    let has_more = from + page.len() < objects.len();
    respond(200, &json!({"object": "list", "data": page, "has_more": has_more, "url": uri.path()}))
}

fn refusal(status: u16, message: &str) -> Response {
    let mut response = respond(status, &json!({"error": {"type": "invalid_request_error", "message": message}}));
    response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("0"));
    response
}

fn respond(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
