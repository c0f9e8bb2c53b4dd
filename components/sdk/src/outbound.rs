//! Calls to other hosts: bounded in time and size. Errors say whether the call may have had its effect.
//!
//! The time is measured here, by the component's own clock: Spin knows no timeout of a call to another component, and what a
//! host limits by itself is the connection, the first byte and the pause between two, and never the whole.

use std::{
    pin::pin,
    task::Poll::{Pending, Ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use spin_sdk::{
    http::IncomingMessage,
    wasip3::{
        http::types::{ErrorCode, RequestOptions},
        http_compat::{IncomingBody, RequestOptionsExtension},
    },
};

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long all of it may take, to the last byte of the response. Half of it is for the connection: what is not connected
    /// by then was not sent, and may be repeated.
    pub timeout: Duration,
    /// The largest body of the response.
    pub max_answer_bytes: usize,
}

/// A response of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The request did not reach the other host: nothing happened.
    NotSent(String),
    /// The request was sent and the response was lost: it may have had its effect.
    Interrupted(String),
    /// The request was sent and no response came in time: it may have had its effect, or have it later.
    TimedOut(String),
    /// The response is larger than allowed.
    TooLarge,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(cause) => write!(f, "can't be reached: {cause}"),
            Self::Interrupted(cause) => write!(f, "the answer was lost: {cause}"),
            Self::TimedOut(cause) => write!(f, "no answer in time: {cause}"),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

impl std::error::Error for CallError {}

/// Makes a call, and reads the whole response.
///
/// ```no_run
/// use std::time::Duration;
/// use towpath_sdk::outbound::{Call, CallError, call};
///
/// async fn status(url: String) -> Result<u16, CallError> {
///     let (method, headers) = (http::Method::GET, http::HeaderMap::new());
///     let timeout = Duration::from_secs(5);
///     let body = Default::default();
///     Ok(call(Call { method, url, headers, body, timeout, max_answer_bytes: 1 << 20 }).await?.status)
/// }
/// ```
///
/// # Errors
/// See [`CallError`]. A response with an error status is no error.
pub async fn call(call: Call) -> Result<Answer, CallError> {
    let (timeout, max) = (call.timeout, call.max_answer_bytes);
    if timeout.is_zero() {
        return Err(CallError::NotSent("no time is left for it".into()));
    }
    let mut request = request(call)?;
    request.extensions_mut().insert(RequestOptionsExtension(options(timeout)));
    let answer = unless(spin_sdk::time::sleep(timeout), answer(request, max)).await;
    answer.unwrap_or_else(|| Err(CallError::TimedOut(format!("{timeout:?} have passed by the caller's clock"))))
}

/// What a future comes to, unless `end` comes first. The future is dropped then, and the call of it is cancelled.
async fn unless<T>(end: impl Future<Output = ()>, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut end) = (pin!(future), pin!(end));
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Ready(value) => Ready(Some(value)),
        Pending => end.as_mut().poll(context).map(|()| None),
    })
    .await
}

async fn answer(request: http::Request<Full<Bytes>>, max: usize) -> Result<Answer, CallError> {
    let response = spin_sdk::http::send(request).await.map_err(classify)?;
    let (parts, body) = response.into_parts();
    let body = collect(body, max).await.map_err(|error| match error {
        CollectError::TooLarge => CallError::TooLarge,
        CollectError::Broken(error) => lost(error),
    })?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// The request of a call. Its length is known, and said: without it, a host would send the body in chunks, which not every
/// server takes.
fn request(call: Call) -> Result<http::Request<Full<Bytes>>, CallError> {
    let uri: Uri = call.url.parse().map_err(|_| CallError::NotSent(format!("{} is no URL", call.url)))?;
    let length = call.body.len();
    let mut request = http::Request::new(Full::new(call.body));
    *request.method_mut() = call.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = call.headers;
    // RFC 9110, section 8.6: also 0, where a body would mean something.
    if length > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

/// A host that does not support the option ignores it and applies its own limit.
fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(u64::try_from((timeout / 2).as_nanos()).unwrap_or(u64::MAX)));
    options
}

fn classify(error: ErrorCode) -> CallError {
    match error {
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_)
        | ErrorCode::HttpRequestDenied
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid => CallError::NotSent(error.to_string()),
        other => lost(other),
    }
}

/// The error of a request that was sent.
fn lost(error: ErrorCode) -> CallError {
    match error {
        ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionWriteTimeout | ErrorCode::HttpResponseTimeout => {
            CallError::TimedOut(error.to_string())
        }
        other => CallError::Interrupted(other.to_string()),
    }
}

pub(crate) enum CollectError {
    TooLarge,
    Broken(ErrorCode),
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn collect<T: IncomingMessage>(mut body: IncomingBody<T>, max: usize) -> Result<Bytes, CollectError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > max {
            return Err(CollectError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn, ready},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_call_that_never_ends_is_ended_by_the_clock() {
        let never = pending::<&str>;
        assert_eq!(poll(unless(ready(()), never())), Ready(None));
        assert_eq!(poll(unless(pending(), ready("answer"))), Ready(Some("answer")));
        assert_eq!(poll(unless(ready(()), ready("answer"))), Ready(Some("answer")), "what is there counts");
        assert_eq!(poll(unless(pending(), never())), Pending);
        // The clock is asked again whenever the call has moved without ending.
        let mut polls = 0;
        let late = poll_fn(|_| {
            polls += 1;
            if polls < 3 { Pending } else { Ready(()) }
        });
        let mut waiting = pin!(unless(late, never()));
        let mut again = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!((again(), again(), again()), (Pending, Pending, Ready(None)));
    }

    #[test]
    fn without_time_nothing_is_sent() {
        let (url, headers, body) = ("http://a/".to_owned(), HeaderMap::new(), Bytes::new());
        let none = Call { method: Method::GET, url, headers, body, timeout: Duration::ZERO, max_answer_bytes: 0 };
        assert!(matches!(poll(call(none)), Ready(Err(CallError::NotSent(_)))));
    }

    #[test]
    fn the_length_of_a_body_is_said() {
        let length = |method: Method, body: &'static str| {
            let (url, headers, timeout) = ("http://a/".to_owned(), HeaderMap::new(), Duration::ZERO);
            let call = Call { method, url, headers, body: body.into(), timeout, max_answer_bytes: 0 };
            let request = request(call).expect("a request");
            request.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().expect("a number").to_owned())
        };
        assert_eq!(length(Method::POST, "text").as_deref(), Some("4"));
        assert_eq!(length(Method::POST, "").as_deref(), Some("0"));
        assert_eq!(length(Method::DELETE, "text").as_deref(), Some("4"));
        assert_eq!(length(Method::GET, ""), None);
    }

    #[test]
    fn only_what_surely_did_nothing_counts_as_not_sent() {
        assert!(matches!(classify(ErrorCode::ConnectionRefused), CallError::NotSent(_)));
        for unsure in [
            ErrorCode::ConnectionTerminated,
            ErrorCode::HttpResponseIncomplete,
            ErrorCode::HttpProtocolError,
            ErrorCode::InternalError(None),
        ] {
            assert!(matches!(classify(unsure), CallError::Interrupted(_)));
        }
        for late in [ErrorCode::ConnectionReadTimeout, ErrorCode::HttpResponseTimeout] {
            assert!(matches!(classify(late), CallError::TimedOut(_)));
        }
    }
}
