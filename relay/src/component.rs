//! Calls to a service's component: deliveries and timers, as HTTP requests with its token.

mod headers;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::ComponentConfig;
use verdict::retry_after;

pub use headers::encode;
pub(crate) use headers::{encoded_bytes, put};
pub(crate) use verdict::{Answer, Verdict};

/// After this long without a connection the relay leaves the component's events and timers to other relays. Longer than a
/// restart of the component takes.
pub(crate) const LEFT_TO_OTHERS_AFTER: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the relay tries to connect to a component that is away.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shorter than servers keep idle connections, so that no request meets one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much the relay reads of an answer's body.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How much of it goes into a log line or a dead letter.
const MAX_DETAIL_CHARS: usize = 500;

/// Where a service's component is. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
    /// Since when connecting fails; shared by all callers.
    unreached_since: Arc<Mutex<Option<Instant>>>,
}

impl Component {
    /// A client with connections of its own. `timeout` is for a whole call.
    pub(crate) fn new(config: &ComponentConfig, timeout: Duration) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", config.token.expose()))?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(Duration::from_secs(15)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self { client, base: config.url.clone(), authorization, timeout, unreached_since: Arc::default() })
    }

    /// Posts to a route. Every outcome is an [`Answer`].
    pub(crate) async fn call(&self, route: &str, headers: HeaderMap, body: Bytes) -> Answer {
        let request = match self.request(route, headers, body) {
            Ok(request) => request,
            // relay.toml is refused with a route that is no URI, so this doesn't occur.
            Err(error) => return Answer::None(format!("the request can't be made: {error}")),
        };
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => {
                self.reached();
                answer
            }
            Ok(Err(error)) => {
                if error.is_connect() {
                    self.unreached_since().get_or_insert_with(Instant::now);
                }
                Answer::None(chain(&error))
            }
            Err(_) => Answer::None(format!("no answer within {:?}", self.timeout)),
        }
    }

    /// How long connecting has failed. A component that is slow, or breaks a connection, is reached.
    pub(crate) fn unreached_for(&self) -> Duration {
        self.unreached_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits until a connection succeeds.
    pub(crate) async fn until_reached(&self) {
        while !self.can_be_reached().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tries to connect.
    pub(crate) async fn can_be_reached(&self) -> bool {
        let reached = reach(&self.base).await.is_ok();
        if reached {
            self.reached();
        }
        reached
    }

    fn reached(&self) {
        *self.unreached_since() = None;
    }

    fn unreached_since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.unreached_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, route: &str, headers: HeaderMap, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
        let uri: Uri = format!("{}{route}", self.base).parse()?;
        let mut request = Request::builder().method(Method::POST).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, legacy::Error> {
        let response = self.client.request(request).await?;
        let status = response.status().as_u16();
        let now = jiff::Timestamp::now().as_second();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| retry_after(value, now));
        // Read the body in any case, so that the connection can be used again.
        let detail = detail(response).await;
        Ok(Answer::Status { status, retry_after, detail })
    }
}

/// Connects to the address of a component's URL, or says why that fails.
pub(crate) async fn reach(url: &str) -> Result<(), String> {
    // relay.toml is refused with a URL that is none, so this doesn't occur.
    let Ok(uri) = url.parse::<Uri>() else { return Ok(()) };
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let connecting = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(cause)) => Err(format!("{host}:{port}: {cause}")),
        Err(_) => Err(format!("{host}:{port}: no connection within {CONNECT_TIMEOUT:?}")),
    }
}

/// The beginning of a body, as text on one line. A body that breaks off is no error: the status decides.
async fn detail(response: Response<Incoming>) -> String {
    let empty = response.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    if empty {
        return String::new();
    }
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL_CHARS).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
