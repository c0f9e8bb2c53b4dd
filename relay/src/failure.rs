//! Failures: what a client sees and what the log says are two things.
//!
//! The problem document goes to the caller and holds nothing of the inside of the relay: no SQL text, no address, no
//! driver's message. The cause goes to the log, under the span of the request.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use towpath_wire::{Code, Fault, Problem};

/// `Result` with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A request that came to nothing.
pub struct Failure {
    /// What the caller sees.
    pub problem: Box<Problem>,
    /// What only the log sees.
    pub cause: Option<anyhow::Error>,
    /// When the caller may try again, where that is known better than by the default.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with this code; `detail` is for the caller.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), cause: None, retry_after: None }
    }

    /// The same, with what only the log may know.
    #[must_use]
    pub fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// A request that can't be read.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, detail)
    }

    /// A limit of the configuration, by its name in `[limits]`.
    #[must_use]
    pub fn limit(name: &str, limit: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(Code::LimitExceeded, format!("{detail} (limits.{name} = {limit})"))
    }

    /// A server behind the relay that can't be reached.
    #[must_use]
    pub fn unavailable(what: &str, cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Unavailable, format!("{what} can't be reached")).because(cause)
    }

    /// A fault in the relay.
    #[must_use]
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Internal, "The relay failed; its log says why").because(cause)
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.problem.code
    }

    /// Writes it to the log, as loudly as it deserves: a caller's fault is the caller's to log.
    pub fn log(&self) {
        let (code, detail) = (self.problem.code.as_str(), self.problem.detail.as_str());
        let cause = self.cause.as_ref().map(|cause| format!("{cause:#}"));
        let cause = cause.as_deref();
        match self.problem.fault {
            Fault::Caller => tracing::debug!(code, detail, cause, "refused"),
            Fault::Dependency => tracing::warn!(code, detail, cause, "a dependency failed"),
            Fault::Relay if self.problem.retryable => tracing::warn!(code, detail, cause, "turned away"),
            Fault::Relay => tracing::error!(code, detail, cause, "the relay failed"),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None, retry_after: None }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("problem", &self.problem).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.code.as_str(), self.problem.detail)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause:#}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.log();
        let problem = &self.problem;
        let body = serde_json::to_vec(problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if problem.status == 503 {
            let seconds = self.retry_after.map_or(1, |wait| wait.as_millis().div_ceil(1000).max(1) as u64);
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if problem.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(problem.code);
        response
    }
}
