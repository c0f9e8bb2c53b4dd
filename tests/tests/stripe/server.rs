//! A server that answers the calls of payment and audit as Stripe does: it takes what Stripe's description names and refuses
//! the rest, keeps the answer of every key, failures too, and knows where each intent stands.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::{Value, json};
use towpath_payment::provider::stripe::VERSION;

/// The key that it takes.
pub(crate) const KEY: &str = "sk_test_shop";

/// A failure of its own, before it does anything.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// 500, kept under the key.
    Kept,
    /// 429 with this `Retry-After`, which is not kept.
    Busy(u32),
    /// 409: another call is at work under the key.
    InUse,
}

/// What it has.
#[derive(Default)]
pub(crate) struct Books {
    /// Oldest first.
    pub(crate) intents: Vec<Value>,
    /// Oldest first.
    pub(crate) refunds: Vec<Value>,
    /// Request, status and answer by key.
    kept: BTreeMap<String, (String, u16, Value)>,
    /// How long it thinks before it says where an intent stands.
    pub(crate) thinks: Duration,
    /// Calls whose path has this part are done, and their answers are held back until it is taken away.
    pub(crate) holds: Option<&'static str>,
    /// What fails next: a part of the path, and how.
    pub(crate) fails: VecDeque<(&'static str, Failure)>,
    /// Every call: method and path, and its key.
    pub(crate) calls: Vec<(String, Option<String>)>,
    /// What no caller of Stripe may do.
    pub(crate) faults: Vec<String>,
}

/// A running one.
#[derive(Clone)]
pub(crate) struct Stripe {
    pub(crate) url: String,
    books: Arc<Mutex<Books>>,
}

type Form = BTreeMap<String, String>;
type Answer = (u16, Value);
/// What a call does: to the books, by the id in its path, with its parameters.
type Act = fn(&mut Books, &str, &Form) -> Answer;

impl Stripe {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let books = Arc::new(Mutex::new(Books::default()));
        let routes = Router::new().fallback(answer).with_state(books.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, books }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("nobody panics while holding it")
    }

    /// The customer of this order's intent authenticates. Returns the intent.
    pub(crate) fn authenticate(&self, order: &str) -> String {
        let mut books = self.books();
        let intent = books.intents.iter_mut().find(|one| one["metadata"]["order_id"] == order).expect("an intent");
        assert_eq!(intent["status"], "requires_action");
        charge(intent);
        text(intent, "id")
    }
}

fn charge(intent: &mut Value) {
    intent["amount_received"] = intent["amount"].clone();
    intent["status"] = "succeeded".into();
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}

fn pairs(text: &str) -> Form {
    let url = reqwest::Url::parse(&format!("http://stripe/?{text}")).expect("a form");
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

async fn answer(
    State(books): State<Arc<Mutex<Books>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    if method == Method::GET {
        let thinks = books.lock().expect("nobody panics while holding it").thinks;
        tokio::time::sleep(thinks).await;
    }
    let lock = || books.lock().expect("nobody panics while holding it");
    let (status, body, retry_after) = respond(&mut lock(), &method, &uri, &headers, &body);
    while lock().holds.is_some_and(|part| uri.path().contains(part)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::from(body.to_string())).expect("a response")
}

fn respond(
    books: &mut Books,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &str,
) -> (u16, Value, Option<u32>) {
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Whatever of it is percent-encoded means the same.
    let path = &*pairs(&format!("path={}", uri.path()))["path"];
    let key = given("idempotency-key").map(str::to_owned);
    books.calls.push((format!("{method} {path}"), key.clone()));
    if given("authorization") != Some(&format!("Bearer {KEY}")) {
        return (401, json!({"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}), None);
    }
    let is_post = method == Method::POST;
    for (wrong, what) in [
        (given("stripe-version") != Some(VERSION), "no version"),
        (is_post && given("content-type") != Some("application/x-www-form-urlencoded"), "no form"),
        (is_post && key.is_none() && !path.ends_with("/cancel"), "no idempotency key"),
        (!is_post && key.is_some(), "a key on a look"),
    ] {
        if wrong {
            books.faults.push(format!("{method} {path}: {what}"));
        }
    }
    let request = format!("{path} {body}");
    if let Some((before, status, answer)) = key.as_ref().and_then(|key| books.kept.get(key)) {
        if *before == request {
            return (*status, answer.clone(), None);
        }
        books.faults.push(format!("{request}: came under the key of {before}"));
        return (400, json!({"error": {"type": "idempotency_error", "message": "other parameters"}}), None);
    }
    if let Some(at) = books.fails.iter().position(|(part, _)| path.contains(part)) {
        let (_, failure) = books.fails.remove(at).expect("it stands there");
        return match failure {
            Failure::Busy(seconds) => {
                (429, json!({"error": {"type": "invalid_request_error", "code": "rate_limit"}}), Some(seconds))
            }
            Failure::InUse => {
                (409, json!({"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}), None)
            }
            Failure::Kept => {
                let answer = json!({"error": {"type": "api_error", "message": "Something went wrong"}});
                books.kept.extend(key.map(|key| (key, (request, 500, answer.clone()))));
                (500, answer, None)
            }
        };
    }
    let form = pairs(if is_post { body } else { uri.query().unwrap_or_default() });
    let (status, answer) = act(books, method, path, &form);
    // What fails validation is not kept.
    if status != 400 && status != 404 {
        books.kept.extend(key.map(|key| (key, (request, status, answer.clone()))));
    }
    (status, answer, None)
}

fn act(books: &mut Books, method: &Method, path: &str, form: &Form) -> Answer {
    let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    let (known, act): (&[&str], Act) = match (method.as_str(), segments.as_slice()) {
        ("POST", ["payment_intents"]) => {
            (&["amount", "currency", "payment_method", "payment_method_types[]", "metadata[order_id]"], create)
        }
        ("POST", ["payment_intents", _, "confirm"]) => (&["payment_method"], confirm),
        ("POST", ["payment_intents", _, "cancel"]) => (&["cancellation_reason"], cancel),
        ("GET", ["payment_intents", _]) => (&[], |books, id, _| found(&books.intents, id)),
        ("POST", ["refunds"]) => (&["payment_intent", "amount", "metadata[order_id]"], refund),
        ("GET", ["refunds", _]) => (&[], |books, id, _| found(&books.refunds, id)),
        ("GET", ["payment_intents"]) => (&["limit", "starting_after"], |books, _, form| page(&books.intents, form)),
        ("GET", ["refunds"]) => {
            (&["limit", "starting_after", "payment_intent"], |books, _, form| page(&books.refunds, form))
        }
        _ => return refuses(404, "resource_missing", "Unrecognized request URL"),
    };
    if let Some(unknown) = form.keys().find(|name| !known.contains(&name.as_str())) {
        books.faults.push(format!("{path}: the parameter {unknown}"));
        return refuses(400, "parameter_unknown", unknown);
    }
    act(books, segments.get(1).copied().unwrap_or_default(), form)
}

fn refuses(status: u16, code: &str, message: &str) -> Answer {
    (status, json!({"error": {"type": "invalid_request_error", "code": code, "message": message}}))
}

fn found(objects: &[Value], id: &str) -> Answer {
    let object = objects.iter().find(|object| object["id"] == id);
    object.map_or_else(|| refuses(404, "resource_missing", "No such object"), |object| (200, object.clone()))
}

/// Newest first.
fn page(objects: &[Value], form: &Form) -> Answer {
    let of_intent =
        |object: &&Value| form.get("payment_intent").is_none_or(|intent| object["payment_intent"] == *intent);
    let all: Vec<&Value> = objects.iter().rev().filter(of_intent).collect();
    let after = form.get("starting_after").map(|id| all.iter().position(|object| object["id"] == *id));
    let from = match after {
        None => 0,
        Some(Some(at)) => at + 1,
        Some(None) => return refuses(400, "resource_missing", "No such object"),
    };
    // Small pages, so that few objects need several.
    let limit = form.get("limit").map_or(10, |text| text.parse::<usize>().expect("a number")).min(3);
    let data: Vec<_> = all.iter().skip(from).take(limit).collect();
    let has_more = from + data.len() < all.len();
    (200, json!({"object": "list", "data": data, "has_more": has_more, "url": "/v1/objects"}))
}

fn create(books: &mut Books, _: &str, form: &Form) -> Answer {
    let id = format!("pi_{:04}", books.intents.len() + 1);
    let amount: i64 = form["amount"].parse().expect("an amount");
    books.intents.push(json!({
        "id": id, "object": "payment_intent", "status": "requires_confirmation", "amount": amount, "amount_received": 0,
        "currency": form["currency"], "created": 1_700_000_000, "client_secret": format!("{id}_secret_x"),
        "payment_method": form["payment_method"], "last_payment_error": null, "livemode": false,
        "metadata": {"order_id": form["metadata[order_id]"]},
    }));
    found(&books.intents, &id)
}

fn confirm(books: &mut Books, id: &str, form: &Form) -> Answer {
    let Some(intent) = books.intents.iter_mut().find(|intent| intent["id"] == id) else {
        return refuses(404, "resource_missing", "No such payment_intent");
    };
    if !["requires_confirmation", "requires_action", "requires_payment_method"].contains(&&*text(intent, "status")) {
        return elsewhere(intent);
    }
    intent["payment_method"] = form["payment_method"].clone().into();
    match form["payment_method"].as_str() {
        "pm_card_authenticationRequired" => intent["status"] = "requires_action".into(),
        "pm_card_chargeDeclinedInsufficientFunds" => {
            intent["status"] = "requires_payment_method".into();
            let mut error =
                json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"});
            intent["last_payment_error"] = error.clone();
            error["payment_intent"] = intent.clone();
            return (402, json!({"error": error}));
        }
        _ => charge(intent),
    }
    (200, intent.clone())
}

fn cancel(books: &mut Books, id: &str, _: &Form) -> Answer {
    let Some(intent) = books.intents.iter_mut().find(|intent| intent["id"] == id) else {
        return refuses(404, "resource_missing", "No such payment_intent");
    };
    if ["succeeded", "canceled"].contains(&&*text(intent, "status")) {
        return elsewhere(intent);
    }
    intent["status"] = "canceled".into();
    (200, intent.clone())
}

fn elsewhere(intent: &Value) -> Answer {
    let error =
        json!({"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "payment_intent": intent});
    (400, json!({"error": error}))
}

fn refund(books: &mut Books, _: &str, form: &Form) -> Answer {
    let (_, intent) = found(&books.intents, &form["payment_intent"]);
    let back = books.refunds.iter().filter(|one| one["payment_intent"] == intent["id"] && one["status"] != "failed");
    let left = intent["amount_received"].as_i64().unwrap_or_default()
        - back.filter_map(|one| one["amount"].as_i64()).sum::<i64>();
    let amount: i64 = form["amount"].parse().expect("an amount");
    match text(&intent, "payment_method").as_str() {
        "pm_card_createDispute" => return refuses(400, "charge_disputed", "The charge has been charged back."),
        _ if left == 0 => return refuses(400, "charge_already_refunded", "The charge has already been refunded."),
        _ if amount > left => {
            let message = "Refund amount is greater than unrefunded amount on charge";
            return (400, json!({"error": {"type": "invalid_request_error", "param": "amount", "message": message}}));
        }
        _ => {}
    }
    let id = format!("re_{:04}", books.refunds.len() + 1);
    let status = if intent["payment_method"] == "pm_card_pendingRefund" { "pending" } else { "succeeded" };
    books.refunds.push(json!({
        "id": id, "object": "refund", "status": status, "amount": amount, "currency": intent["currency"],
        "created": 1_700_000_000, "payment_intent": intent["id"], "failure_reason": null,
        "metadata": {"order_id": form["metadata[order_id]"]},
    }));
    found(&books.refunds, &id)
}
