//! Around every request: its service, its span, its metrics, and the answer to a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use metrics::{counter, histogram};
use towpath_wire::Code;
use tracing::{Instrument, Span, field, info_span};

use super::ROUTES;
use super::body::BodyLimits;
use super::caller::authenticate;
use crate::failure::{Failure, Result};
use crate::relay::Relay;
use crate::telemetry::metrics::{PANICS, REQUEST_SECONDS, REQUESTS};
use crate::telemetry::{TraceContext, follow};

/// The only path without a token.
const PUBLIC: &str = "/v1/openapi.json";

/// Marks the answer to a query that waited: its duration says nothing about the relay's speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited;

pub(super) async fn observe(State(relay): State<Arc<Relay>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let call = call_of(&request);
    let span = info_span!("request", service = field::Empty, call, trace_id = field::Empty);
    let trace = follow(&span, TraceContext::from_headers(request.headers()));
    span.record("trace_id", trace.trace_id());
    let admitted = admit(&relay, &mut request, trace, &span);
    let service = admitted.as_ref().ok().cloned().flatten();
    let response = match admitted {
        Ok(_) => guarded(next.run(request)).instrument(span).await,
        Err(failure) => span.in_scope(|| failure.into_response()),
    };
    let service = service.unwrap_or_else(|| "none".into());
    measure(service, call, &response, began);
    response
}

/// The name of the call; `none` for an unknown path or method. HEAD counts as the GET that answers it.
fn call_of(request: &Request) -> &'static str {
    let path = path_of(request);
    let method = match request.method().as_str() {
        "HEAD" => "GET",
        method => method,
    };
    ROUTES.iter().find(|route| route.path == path && route.method == method).map_or("none", |route| route.call)
}

/// The path of the route, with its parameters in braces; empty for an unknown one.
fn path_of(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// Refuses a request that a web page sends (a browser would lend it the network that it stands in), and one that names
/// several hosts.
fn check_sender(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(ORIGIN) {
        return Err(Failure::new(Code::Forbidden, "The relay serves components, and no web pages: leave out `origin`"));
    }
    if headers.get_all(HOST).iter().count() > 1 {
        return Err(Failure::malformed("The request names more than one host"));
    }
    Ok(())
}

/// Admits a request, and adds what its handler needs. Answers the name of the service.
fn admit(relay: &Relay, request: &mut Request, trace: TraceContext, span: &Span) -> Result<Option<Arc<str>>> {
    if path_of(request) == PUBLIC {
        return Ok(None);
    }
    check_sender(request.headers())?;
    let service = authenticate(relay, request.headers())?;
    span.record("service", &*service.name);
    if relay.lifecycle.stop_taking.is_cancelled() {
        return Err(Failure::new(Code::ShuttingDown, "The relay is stopping; another one takes over"));
    }
    let extensions = request.extensions_mut();
    extensions.insert(BodyLimits::of_service(service));
    extensions.insert(trace);
    extensions.insert(Arc::clone(service));
    Ok(Some(Arc::clone(&service.name)))
}

/// Answers a panic as a fault of the relay; other requests go on. The panic hook has logged it.
async fn guarded(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        counter!(PANICS).increment(1);
        Failure::internal(anyhow::anyhow!("a handler panicked")).into_response()
    })
}

fn measure(service: Arc<str>, call: &'static str, response: &Response, began: Instant) {
    let code = response.extensions().get::<Code>().map_or("ok", |code| code.as_str());
    let waited = response.extensions().get::<Waited>().is_some();
    let call = if waited { "queries_waiting" } else { call };
    histogram!(REQUEST_SECONDS, "service" => Arc::clone(&service), "call" => call).record(began.elapsed());
    counter!(REQUESTS, "service" => service, "call" => call, "code" => code).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_as_a_fault_of_the_relay() {
        let response = guarded(async { panic!("as a handler would") }).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.extensions().get(), Some(&Code::Internal));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
