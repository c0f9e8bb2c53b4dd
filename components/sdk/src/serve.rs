//! The entry point of a component: reads the request within bounds, calls the handler, writes the response, and logs
//! failures.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    Budget, Context, Id, Problem, Request, Response, Trace, delivery,
    outbound::{CollectError, collect},
    request::REQUEST_ID,
};

/// The largest body that a client may send, where a service says nothing else.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// The largest webhook: Stripe takes 150,000 characters of evidence in a dispute, and each has up to 12 bytes in JSON.
const MAX_WEBHOOK_BYTES: usize = 2 << 20;
/// The largest body that the relay may send: an event that a service published.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// The time for all calls that a handler makes for a client's request: clients get a response within two seconds, of
/// which the gateway needs a part.
const CLIENT_BUDGET: Duration = Duration::from_millis(1_600);
/// The time for each call that a handler makes for a delivery: the relay waits longer, and repeats what fails.
const DELIVERY_BUDGET: Duration = Duration::from_secs(10);

/// The largest body that a client may send to a path, where a service says nothing else.
#[must_use]
pub fn max_body(_path: &str) -> usize {
    MAX_BODY_BYTES
}

/// The same for the services that a webhook of the payment provider passes: the gateway, and payment behind it.
#[must_use]
pub fn max_body_with_webhooks(path: &str) -> usize {
    match path {
        "/v1/providers/stripe/webhooks" => MAX_WEBHOOK_BYTES,
        _ => max_body(path),
    }
}

/// Runs the handler; what the macro [`service!`](crate::service) calls.
pub async fn serve(
    request: spin_sdk::http::Request,
    max_body: fn(&str) -> usize,
    handler: impl AsyncFnOnce(Context, Request) -> Result<Response, Problem>,
) -> http::Response<Full<Bytes>> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let delivered = uri.path().starts_with("/_relay/");
    let max = if delivered { MAX_EVENT_BYTES } else { max_body(uri.path()) };
    let (trace, id) = (Trace::of(request.headers()), request_id(request.headers()));
    let answer = async {
        if delivered {
            delivery::check_head(request.headers()).await?;
        }
        let request = read(request, max).await?;
        // From now on: a client that sends its body slowly must not take the time of the calls, or the gateway would pass
        // its request for want of an answer about the rate limit.
        let budget = match delivered {
            true => Budget::of_each(DELIVERY_BUDGET),
            false => Budget::of_all(CLIENT_BUDGET),
        };
        handler(Context { trace: trace.clone(), request_id: id.clone(), budget }, request).await
    };
    let response = answer.await.unwrap_or_else(|problem| {
        if problem.status >= 500 {
            log_failure(&trace, &id, &format!("{method} {}", uri.path()), &problem);
        }
        problem.into_response()
    });
    into_http(response, method == http::Method::HEAD, &id)
}

async fn read(request: spin_sdk::http::Request, max: usize) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let body = collect(body, max).await.map_err(|error| match error {
        CollectError::TooLarge => Problem::body_too_large(max),
        CollectError::Broken(error) => {
            Problem::bad_request("body_incomplete", "The connection closed before the whole body arrived.")
                .because(error.to_string())
        }
    })?;
    let host = parts.uri.authority().map(ToString::to_string);
    Ok(Request::new(parts.method, target, parts.headers, body).for_host(host))
}

/// The id from the header `X-Request-Id` if it is plain text, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    given.filter(plain).map_or_else(|| Id::new().to_string(), str::to_owned)
}

fn into_http(response: Response, is_head: bool, request_id: &str) -> http::Response<Full<Bytes>> {
    let response = response.header(REQUEST_ID, request_id).header("x-content-type-options", "nosniff");
    let response = match response.get_header("cache-control") {
        Some(_) => response,
        None => response.header("cache-control", "no-store"),
    };
    let (status, mut headers, body) = response.into_parts();
    let mut http = http::Response::new(Full::new(if is_head { Bytes::new() } else { body.clone() }));
    // Without it, the host would send the body in chunks.
    if !is_head && !matches!(status, 204 | 304) {
        headers.insert("content-length", body.len().into());
    }
    *http.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    *http.headers_mut() = headers;
    http
}

/// Writes one line of JSON to standard error, which the host adds to its log.
pub fn log(line: &Value) {
    eprintln!("{}", towpath_log::escaped(&line.to_string()));
}

fn log_failure(trace: &Trace, request_id: &str, request: &str, problem: &Problem) {
    let line = json!({
        "level": if problem.status == 503 { "warn" } else { "error" },
        "trace_id": trace.id(),
        "request_id": request_id,
        "request": request,
        "status": problem.status,
        "code": problem.code,
        "cause": problem.cause,
    });
    log(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_with_all_the_evidence_of_a_dispute_fits_and_nothing_else_is_as_large() {
        // Written as JSON writes what is beyond the first plane: two escapes of six bytes.
        const EVIDENCE: usize = 150_000 * 12;
        assert!(max_body_with_webhooks("/v1/providers/stripe/webhooks") > EVIDENCE + MAX_BODY_BYTES);
        for path in ["/v1/orders", "/v1/providers/sandbox/challenges", "/v1/providers/stripe/webhooks/x", "/"] {
            assert_eq!(max_body_with_webhooks(path), MAX_BODY_BYTES, "{path}");
        }
    }

    #[test]
    fn a_request_keeps_an_id_that_a_log_can_show() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, given.parse().expect("a header value"));
            request_id(&headers)
        };
        assert_eq!(id("abc-1.2:3_4"), "abc-1.2:3_4");
        for wrong in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert!(id(wrong).parse::<Id>().is_ok(), "{wrong}");
        }
    }

    #[test]
    fn every_answer_says_how_to_treat_it() {
        let header = |response: Response, name: &str| {
            let http = into_http(response, false, "r");
            http.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(header(Response::new(200), "x-request-id").as_deref(), Some("r"));
        assert_eq!(header(Response::new(200), "x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(header(Response::new(200), "cache-control").as_deref(), Some("no-store"));
        assert_eq!(header(Response::json(200, &7), "content-length").as_deref(), Some("1"));
        assert_eq!(header(Response::new(304), "content-length"), None);
        let kept = Response::new(200).header("cache-control", "no-cache");
        assert_eq!(header(kept, "cache-control").as_deref(), Some("no-cache"));
    }
}
