//! A component that subscribes: it answers as the test says, when the test says, and counts which calls overlap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, Uri};
use towpath_wire::headers::{DELIVERY_ATTEMPT, EVENT_KEY};

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) key: String,
    /// The number in its data; none where it has none.
    pub(crate) n: usize,
    /// How often it was delivered before.
    pub(crate) before: usize,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Answer = Arc<dyn Fn(Heard) -> BoxFuture<'static, Response> + Send + Sync>;

#[derive(Default)]
struct Log {
    calls: Vec<Heard>,
    accepted: Vec<(String, usize)>,
    running: BTreeMap<String, usize>,
    most_at_once: usize,
    overlaps: usize,
}

#[derive(Clone)]
struct Shared {
    log: Arc<Mutex<Log>>,
    answer: Arc<Mutex<Answer>>,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panicked with it")
    }
}

/// Counts a call as running until it is answered or its caller is gone.
struct Running {
    shared: Shared,
    key: String,
}

impl Running {
    fn begin(shared: &Shared, heard: &Heard) -> Self {
        let mut log = shared.log();
        log.calls.push(heard.clone());
        let beside = log.running.entry(heard.key.clone()).or_default();
        *beside += 1;
        log.overlaps += usize::from(log.running[&heard.key] > 1);
        let all = log.running.values().sum();
        log.most_at_once = log.most_at_once.max(all);
        drop(log);
        Self { shared: shared.clone(), key: heard.key.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.shared.log().running.get_mut(&self.key).expect("it runs") -= 1;
    }
}

/// A component. Stops when it is dropped.
pub(crate) struct Subscriber {
    pub(crate) url: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

impl Subscriber {
    /// Answers 204 to everything.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        crate::show_logs();
        let listener = tokio::net::TcpListener::bind(address).await.expect("the port");
        let address = listener.local_addr().expect("an address");
        let accept: Answer = Arc::new(|_| async { StatusCode::NO_CONTENT.into_response() }.boxed());
        let shared = Shared { log: Arc::default(), answer: Arc::new(Mutex::new(accept)) };
        let app = Router::new().fallback(handle).layer(DefaultBodyLimit::disable()).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url: format!("http://{address}"), shared, server }
    }

    /// Answers by this from now on.
    pub(crate) fn answer<F: Future<Output = Response> + Send + 'static>(
        &self,
        answer: impl Fn(Heard) -> F + Send + Sync + 'static,
    ) {
        *self.shared.answer.lock().expect("nobody panicked with it") = Arc::new(move |heard| answer(heard).boxed());
    }

    /// Answers every call with this status from now on.
    pub(crate) fn answer_status(&self, status: StatusCode) {
        self.answer(move |_| async move { status.into_response() });
    }

    /// What was called so far, in the order of arrival.
    pub(crate) fn calls(&self) -> Vec<Heard> {
        self.shared.log().calls.clone()
    }

    /// What was answered with 2xx, in the order of the answers.
    pub(crate) fn accepted(&self) -> Vec<(String, usize)> {
        self.shared.log().accepted.clone()
    }

    /// The most calls that ran at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.log().most_at_once
    }

    /// How often a call began while another of the same key ran.
    pub(crate) fn overlaps(&self) -> usize {
        self.shared.log().overlaps
    }

    /// The first acceptance of each event, per key.
    pub(crate) fn first_accepted(&self) -> BTreeMap<String, Vec<usize>> {
        let mut keys: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (key, n) in self.accepted() {
            let numbers = keys.entry(key).or_default();
            if !numbers.contains(&n) {
                numbers.push(n);
            }
        }
        keys
    }

    /// Waits until so many calls were accepted.
    pub(crate) async fn accepts(&self, count: usize) {
        crate::support::eventually("the component accepts", async || {
            let accepted = self.accepted().len();
            if accepted >= count { Ok(()) } else { Err(format!("{accepted} of {count}")) }
        })
        .await;
    }

    /// Waits until every event was accepted at least once.
    pub(crate) async fn accepts_all(&self, expected: &BTreeMap<String, Vec<usize>>) {
        crate::support::eventually("the component accepts everything", async || {
            let seen: usize = self.first_accepted().values().map(Vec::len).sum();
            let all: usize = expected.values().map(Vec::len).sum();
            if seen >= all { Ok(()) } else { Err(format!("{seen} of {all}")) }
        })
        .await;
        crate::assert_same(&self.first_accepted(), expected);
    }

    /// Waits until so many calls came.
    pub(crate) async fn hears(&self, count: usize) -> Vec<Heard> {
        crate::support::eventually("the component is called", async || {
            let calls = self.calls();
            if calls.len() >= count { Ok(calls) } else { Err(format!("{} of {count}", calls.len())) }
        })
        .await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn handle(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let data: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let heard = Heard {
        path: uri.path().to_owned(),
        key: text(EVENT_KEY),
        n: data["n"].as_u64().unwrap_or_default() as usize,
        before: text(DELIVERY_ATTEMPT).parse().unwrap_or_default(),
        headers,
        body,
        at: Instant::now(),
    };
    let _running = Running::begin(&shared, &heard);
    let answer = Arc::clone(&shared.answer.lock().expect("nobody panicked with it"));
    let (key, n) = (heard.key.clone(), heard.n);
    let response = answer(heard).await;
    if response.status().is_success() {
        shared.log().accepted.push((key, n));
    }
    response
}
