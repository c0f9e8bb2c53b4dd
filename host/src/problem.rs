//! Answers that the host itself gives. They are problem documents (RFC 9457) with a stable `code`, as the platform's own.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error, WasiBody};

/// Why the host answers, and not a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request names no host, or two.
    BadHost,
    /// No route takes the path.
    NoRoute,
    /// Request line and headers are longer than `--max-header-bytes`, or more than `--max-headers`.
    HeadersTooLarge,
    /// The body did not arrive within `--body-timeout`.
    BodyTimeout,
    /// The body broke off.
    BodyIncomplete,
    /// The body is longer than `--max-body-bytes`.
    BodyTooLarge,
    /// As many requests are in flight as may be, or no instance is left.
    Overloaded,
    /// The client's connection is one beyond `--max-connections`.
    NoConnection,
    /// The component trapped, or gave up.
    ComponentFailed,
    /// The component took longer than `--request-timeout`.
    ComponentTimeout,
}

impl Problem {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "bad_host", "The request must name one host."),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "Nothing answers at this path."),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The request's line and headers are too long, or too many.",
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request's body did not arrive in time.")
            }
            Self::BodyIncomplete => (StatusCode::BAD_REQUEST, "body_incomplete", "The request's body broke off."),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request's body is too long."),
            Self::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once. Try again soon.")
            }
            Self::NoConnection => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many connections at once. Try again soon.")
            }
            Self::ComponentFailed => (StatusCode::INTERNAL_SERVER_ERROR, "component_failed", "The service failed."),
            Self::ComponentTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "component_timeout", "The service did not answer in time.")
            }
        }
    }
}

impl From<Problem> for Response<WasiBody> {
    fn from(problem: Problem) -> Self {
        let (status, code, detail) = problem.parts();
        let title = status.canonical_reason().unwrap_or_default();
        let document = serde_json::json!({
            "type": format!("https://towpath.dev/problems/{}", code.replace('_', "-")),
            "title": title, "status": status.as_u16(), "code": code, "detail": detail,
        });
        let mut response = Response::new(full(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Whoever sends too slowly would only go on where the connection stayed.
        if matches!(problem, Problem::BodyTimeout | Problem::NoConnection) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(problem, Problem::Overloaded | Problem::NoConnection) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A body that is there already.
pub(crate) fn full(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into()).map_err(Error::from).boxed_unsync()
}
