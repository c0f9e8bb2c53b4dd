//! Failures as answers: a problem document for the caller, a log line for the operator.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use towpath_wire::{Code, Fault};

use crate::failure::Failure;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        log(&self);
        let problem = &self.problem;
        let body = serde_json::to_vec(problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if problem.status == 503 {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match problem.code {
            Code::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // RFC 9110, section 15.5.16: what the caller may send instead.
            Code::UnsupportedMediaType => {
                headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            _ => {}
        }
        response.extensions_mut().insert(problem.code);
        response
    }
}

/// A failure that is the caller's fault is logged at `debug`: the caller has the answer.
fn log(failure: &Failure) {
    let (code, detail) = (failure.problem.code.as_str(), failure.problem.detail.as_str());
    let cause = failure.cause.as_ref().map(|cause| format!("{cause:#}"));
    let cause = cause.as_deref();
    match failure.problem.fault {
        Fault::Caller => tracing::debug!(code, detail, cause, "refused a request"),
        Fault::Dependency => {
            tracing::warn!(code, detail, cause, "a request failed because a server behind the relay did")
        }
        Fault::Relay if failure.problem.retryable => {
            tracing::warn!(code, detail, cause, "refused a request: the relay is overloaded or stopping")
        }
        Fault::Relay => tracing::error!(code, detail, cause, "a request failed because of a fault in the relay"),
    }
}
