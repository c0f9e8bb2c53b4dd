//! Between Spin and a handler: reads the request within bounds, writes the answer, logs what failed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;

use crate::{
    Problem, Relay, Request, Response, Trace,
    outbound::{CollectError, collect},
    peer::Peer,
};

/// The largest body from outside.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// The largest body from the relay: an event that one of us has published.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// What may pass until a client gets its answer: less than the two seconds after which it must know.
const CLIENT_BUDGET: Duration = Duration::from_millis(1_800);
/// What may pass until the relay gets its answer to a delivery; it has time, and repeats what fails.
const DELIVERY_BUDGET: Duration = Duration::from_secs(10);

/// What a handler works with, beside its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// The trace that this request belongs to.
    pub trace: Trace,
    /// How long the handler may wait for others.
    pub budget: Duration,
}

impl Context {
    /// The relay, as the variables `relay_url` and `relay_token` name it.
    ///
    /// # Errors
    /// 500 where they aren't set: a fault of whoever wrote the manifest.
    pub async fn relay(&self) -> Result<Relay, Problem> {
        let (url, token) = (self.variable("relay_url").await?, self.variable("relay_token").await?);
        Ok(Relay::new(&url, &token, self.trace.clone()).with_budget(self.budget))
    }

    /// A variable of the component.
    ///
    /// # Errors
    /// 500 where it isn't set: a fault of whoever wrote the manifest.
    pub async fn variable(&self, name: &str) -> Result<String, Problem> {
        let value = spin_sdk::variables::get(name).await;
        value.map_err(|error| Problem::internal(format!("the variable {name}: {error}")))
    }

    /// Another component of the application.
    #[must_use]
    pub fn peer(&self, name: &'static str) -> Peer<'_> {
        Peer::new(name, &self.trace, self.budget)
    }
}

/// Runs the handler; what the macro [`service!`](crate::service) calls.
pub async fn serve(
    request: spin_sdk::http::Request,
    handler: impl AsyncFnOnce(Context, Request) -> Result<Response, Problem>,
) -> http::Response<Full<Bytes>> {
    let trace = Trace::of(request.headers());
    let target = format!("{} {}", request.method(), request.uri().path());
    let is_head = request.method() == http::Method::HEAD;
    let answer = async {
        let delivered = request.uri().path().starts_with("/_relay/");
        let (budget, max) =
            if delivered { (DELIVERY_BUDGET, MAX_EVENT_BYTES) } else { (CLIENT_BUDGET, MAX_BODY_BYTES) };
        let request = read(request, max).await?;
        handler(Context { trace: trace.clone(), budget }, request).await
    };
    let response = answer.await.unwrap_or_else(|problem| {
        if problem.status >= 500 {
            log_failure(&trace, &target, &problem);
        }
        problem.into_response()
    });
    into_http(response, is_head)
}

async fn read(request: spin_sdk::http::Request, max: usize) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let body = collect(body, max).await.map_err(|error| match error {
        CollectError::TooLarge => Problem::body_too_large(max),
        CollectError::Broken(error) => {
            Problem::bad_request("body_incomplete", "The body broke off.").because(error.to_string())
        }
    })?;
    Ok(Request::new(parts.method, target, parts.headers, body))
}

fn into_http(response: Response, is_head: bool) -> http::Response<Full<Bytes>> {
    let (status, headers, body) = response.into_parts();
    let mut http = http::Response::new(Full::new(if is_head { Bytes::new() } else { body }));
    *http.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    *http.headers_mut() = headers;
    http
}

/// One line of JSON on standard error, which the host takes into its log.
fn log_failure(trace: &Trace, target: &str, problem: &Problem) {
    let line = json!({
        "level": if problem.status == 503 { "warn" } else { "error" },
        "trace_id": trace.id(),
        "request": target,
        "status": problem.status,
        "code": problem.code,
        "cause": problem.cause,
    });
    eprintln!("{line}");
}
