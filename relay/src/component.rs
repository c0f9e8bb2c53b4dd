//! Calls to a service's component: deliveries and timers, as HTTP requests with its token.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::ComponentConfig;
use crate::delivery::verdict::{Answer, retry_after};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than servers keep idle connections, so that no request meets one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer's body is read.
const LONGEST_BODY: usize = 64 << 10;
/// How much of it a log line or a dead letter repeats.
const LONGEST_DETAIL: usize = 500;

/// Where a service's component is. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
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
        Ok(Self { client, base: config.url.clone(), authorization, timeout })
    }

    /// Posts to a route. Every outcome is an answer.
    pub(crate) async fn call(&self, route: &str, headers: HeaderMap, body: Bytes) -> Answer {
        let request = match self.request(route, headers, body) {
            Ok(request) => request,
            // A route that is no URI was refused with relay.toml, so this is never seen.
            Err(error) => return Answer::None(format!("the request can't be made: {error}")),
        };
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::None(chain(&*error)),
            Err(_) => Answer::None(format!("no answer within {:?}", self.timeout)),
        }
    }

    fn request(&self, route: &str, headers: HeaderMap, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
        let uri: Uri = format!("{}{route}", self.base).parse()?;
        let mut request = Request::builder().method(Method::POST).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let response = self.client.request(request).await?;
        let status = response.status().as_u16();
        let now = jiff::Timestamp::now().as_second();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| retry_after(value, now));
        // Read even where nobody looks at it, so that the connection can be used again.
        let detail = detail(response).await;
        Ok(Answer::Status { status, retry_after, detail })
    }
}

/// The beginning of a body, as text on one line. The status decides, so a body that breaks off changes nothing.
async fn detail(response: Response<Incoming>) -> String {
    let empty = response.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    if empty {
        return String::new();
    }
    let body = Limited::new(response.into_body(), LONGEST_BODY).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_DETAIL).collect()
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
