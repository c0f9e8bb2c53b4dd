//! The response of a handler, and the one that carries a problem.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use crate::Problem;

/// A response: a status, headers and a body in memory.
///
/// ```
/// use towpath_sdk::Response;
///
/// let response = Response::json(201, &serde_json::json!({"id": 1})).header("location", "/v1/things/1");
/// assert_eq!((response.status(), response.body()), (201, &br#"{"id":1}"#[..]));
/// assert_eq!(response.get_header("content-type"), Some("application/json"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A response with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::new(status).content("application/json", body),
            Err(error) => Problem::internal(format!("the answer can't be written: {error}")).into_response(),
        }
    }

    /// 204.
    #[must_use]
    pub fn no_content() -> Self {
        Self::new(204)
    }

    /// With this body and its `Content-Type`.
    #[must_use]
    pub fn content(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// With this body; sets no `Content-Type`.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With this header. Ignores one whose name or value HTTP does not allow: callers check the input that they build one
    /// from.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header.
    #[must_use]
    pub fn get_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its parts: status, headers, body.
    #[must_use]
    pub fn into_parts(self) -> (u16, HeaderMap, Bytes) {
        (self.status, self.headers, self.body)
    }
}

impl Problem {
    /// The response that carries the problem.
    #[must_use]
    pub fn into_response(self) -> Response {
        let challenge = self.challenge();
        let mut response = Response::new(self.status).content("application/problem+json", self.document());
        if let Some(seconds) = self.retry_after_seconds {
            response = response.header("retry-after", &seconds.to_string());
        }
        if let Some(allow) = self.allow {
            response = response.header("allow", allow);
        }
        if let Some(challenge) = challenge {
            response = response.header("www-authenticate", &challenge);
        }
        response
    }
}
