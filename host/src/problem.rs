//! Problem documents (RFC 9457) with a stable `code`, which the host returns where no component responds.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error, WasiBody};

/// Why the host responds in place of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request names no host, or two.
    BadHost,
    /// No route matches the path.
    NoRoute,
    /// The request line and headers exceed `--max-header-bytes` or `--max-headers`.
    HeadersTooLarge,
    /// The body did not arrive within `--body-timeout`.
    BodyTimeout,
    /// The client stopped sending before the end of the body.
    BodyIncomplete,
    /// The body exceeds `--max-body-bytes`.
    BodyTooLarge,
    /// Too many requests are in flight or at work, or all instances are in use.
    Overloaded,
    /// The client's connection is beyond `--max-connections`.
    NoConnection,
    /// The component trapped or returned an error.
    ComponentFailed,
    /// The component took longer than `--request-timeout`.
    ComponentTimeout,
}

impl Problem {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadHost => (StatusCode::BAD_REQUEST, "bad_host", "The request must name exactly one host."),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "No route matches this path."),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The request line and headers are too large, or there are too many headers.",
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request body did not arrive in time.")
            }
            Self::BodyIncomplete => (StatusCode::BAD_REQUEST, "body_incomplete", "The request body is incomplete."),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large."),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The server has too many requests. Try again after the seconds in Retry-After.",
            ),
            Self::NoConnection => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The server has too many connections. Try again after the seconds in Retry-After.",
            ),
            Self::ComponentFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "component_failed",
                "The component failed before it sent a response.",
            ),
            Self::ComponentTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "component_timeout", "The component did not respond in time.")
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
        let mut response = Response::new(full_body(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // On a connection that stays open, a slow client would go on sending its body.
        if matches!(problem, Problem::BodyTimeout | Problem::NoConnection) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(problem, Problem::Overloaded | Problem::NoConnection) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A body of these bytes.
pub(crate) fn full_body(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into()).map_err(Error::from).boxed_unsync()
}
