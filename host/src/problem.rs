//! Problem documents (RFC 9457) with a stable `code`, which the host returns where no component responds.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::{Error, WasiBody};

/// Why the host responds in place of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request is no HTTP.
    MalformedRequest,
    /// The body is coded in another way than `chunked`, once.
    UnknownCoding,
    /// The request names no host, or several.
    BadHost,
    /// The request asks for a tunnel.
    NoTunnel,
    /// The request is for a resource of another scheme than `http` and `https`.
    ForeignScheme,
    /// The request expects something else than `100-continue`.
    ExpectationFailed,
    /// The request is for another host, on the listener for deliveries.
    Misdirected,
    /// A web page sent the request, on the listener for deliveries.
    ForeignOrigin,
    /// No route matches the path.
    NoRoute,
    /// The host itself answers on this path, and only to GET and HEAD.
    MethodNotAllowed,
    /// hyper takes no request target this long: 64 KiB.
    UriTooLong,
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
    /// The host holds too much for clients (`--max-held-bytes`), and for this one longest.
    Crowded,
    /// The client's connection is beyond `--max-connections` or `--max-connections-per-address`.
    NoConnection,
    /// The component trapped or returned an error.
    ComponentFailed,
    /// The component took longer than `--request-timeout`.
    ComponentTimeout,
}

impl Problem {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => {
                (StatusCode::BAD_REQUEST, "malformed_request", "The request line or a header is not as HTTP wants it.")
            }
            Self::UnknownCoding => {
                (StatusCode::BAD_REQUEST, "unknown_coding", "The only transfer coding here is chunked, once.")
            }
            Self::BadHost => (StatusCode::BAD_REQUEST, "bad_host", "The request must name exactly one host."),
            Self::NoTunnel => (
                StatusCode::NOT_IMPLEMENTED,
                "method_not_implemented",
                "This server makes no tunnels: it has no CONNECT.",
            ),
            Self::ForeignScheme => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This server has resources of the schemes http and https alone.",
            ),
            Self::ExpectationFailed => (
                StatusCode::EXPECTATION_FAILED,
                "expectation_failed",
                "The only expectation that this server meets is 100-continue.",
            ),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This server has another name than the request says. --deliveries-hosts lists its names.",
            ),
            Self::ForeignOrigin => {
                (StatusCode::FORBIDDEN, "foreign_origin", "Deliveries come from the relay. Web pages may not send any.")
            }
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "No route matches this path."),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This path has no such method. The header Allow names those that it has.",
            ),
            Self::UriTooLong => {
                (StatusCode::URI_TOO_LONG, "uri_too_long", "The path and query of the request are too long.")
            }
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
            Self::Crowded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The server receives too many requests, and this one was too slow. Try again after the seconds in Retry-After.",
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

impl Problem {
    /// The response, with its body.
    pub(crate) fn document(self) -> Response<Bytes> {
        let (status, code, detail) = self.parts();
        let title = status.canonical_reason().unwrap_or_default();
        let document = serde_json::json!({
            "type": format!("https://towpath.dev/problems/{}", code.replace('_', "-")),
            "title": title, "status": status.as_u16(), "code": code, "detail": detail,
        });
        let document = Bytes::from(document.to_string());
        let length = HeaderValue::from(document.len());
        let mut response = Response::new(document);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, length);
        if self == Self::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        // On a connection that stays open, a slow client would go on sending its body.
        if matches!(self, Self::BodyTimeout | Self::Crowded | Self::NoConnection | Self::UnknownCoding) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(self, Self::Overloaded | Self::Crowded | Self::NoConnection) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Problem> for Response<WasiBody> {
    fn from(problem: Problem) -> Self {
        problem.document().map(full_body)
    }
}

/// A body of these bytes.
pub(crate) fn full_body(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into()).map_err(Error::from).boxed_unsync()
}
