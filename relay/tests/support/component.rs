//! A component under the test's control: it records what the relay calls, and answers as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, Uri};

/// One call of the relay.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

type Answer = Arc<dyn Fn(&Call) -> Response + Send + Sync>;

/// A component. Stops when it is dropped.
pub struct Component {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Mutex<Answer>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Component {
    /// Answers 204 to everything.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let accept: Answer = Arc::new(|_| status(StatusCode::NO_CONTENT));
        let answer = Arc::new(Mutex::new(accept));
        let shared = Shared { calls: Arc::clone(&calls), answer: Arc::clone(&answer) };
        let app = Router::new().fallback(handle).with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url, calls, answer, server }
    }

    /// Answers by this from now on.
    pub fn answer(&self, answer: impl Fn(&Call) -> Response + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// What was called so far, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An empty answer.
pub fn status(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

async fn handle(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call { method, path: uri.path().to_owned(), headers, body };
    shared.calls.lock().unwrap().push(call.clone());
    let answer = Arc::clone(&shared.answer.lock().unwrap());
    answer(&call)
}
