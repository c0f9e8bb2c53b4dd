//! JSON bodies: bounded in size and time, and strict.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use towpath_wire::{Code, plain, repeated_members};

use crate::config::Limits;
use crate::failure::{Failure, Result};
use crate::heavy;
use crate::relay::Relay;
use crate::service::Service;

/// A JSON body that is exactly a `T`.
pub(super) struct Json<T> {
    pub(super) value: T,
    /// Its bytes among those that the service's bodies take. Keep them for as long as the request is at work.
    pub(super) held: Held,
}

/// Bytes among those that the bodies of a service take, until it is dropped.
pub(super) struct Held(#[allow(dead_code, reason = "it is there to be dropped")] Option<OwnedSemaphorePermit>);

impl<T: DeserializeOwned> FromRequest<Arc<Relay>> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, relay: &Arc<Relay>) -> Result<Self> {
        check_type(request.headers())?;
        let limits =
            request.extensions().get::<BodyLimits>().cloned().unwrap_or_else(|| BodyLimits::of(&relay.config.limits));
        let (bytes, held) = read(request.into_body(), &limits).await?;
        let value = match &limits.all {
            Some(all) => heavy::in_turn(&all.reading, bytes.len(), || parse(&bytes)).await,
            None => heavy::aside(bytes.len(), || parse(&bytes)),
        };
        Ok(Self { value: value?, held })
    }
}

/// The limits of a service's bodies, as they travel with a request.
#[derive(Clone, Debug)]
pub(super) struct BodyLimits {
    bytes: usize,
    time: Duration,
    all: Option<All>,
}

/// What all bodies of a service share.
#[derive(Clone, Debug)]
struct All {
    /// What they may still take.
    bytes: Arc<Semaphore>,
    /// What they may take.
    most: usize,
    /// The turn of large ones to be read.
    reading: Arc<Semaphore>,
}

impl BodyLimits {
    pub(super) fn of_service(service: &Service) -> Self {
        let limits = service.limits();
        let (bytes, reading) = (Arc::clone(&service.bodies), Arc::clone(&service.reading));
        Self { all: Some(All { bytes, most: limits.bodies_bytes, reading }), ..Self::of(limits) }
    }

    fn of(limits: &Limits) -> Self {
        Self { bytes: limits.body_bytes, time: Duration::from_millis(limits.body_read_timeout_ms), all: None }
    }

    /// Takes the bytes of a body before they come.
    fn hold(&self, body: &Body) -> Result<Held> {
        let Some(All { bytes, most, .. }) = &self.all else { return Ok(Held(None)) };
        let announced = body.size_hint().upper();
        let length = announced.map_or(self.bytes, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let length = u32::try_from(length.min(self.bytes).min(*most)).unwrap_or(u32::MAX);
        let permit = Arc::clone(bytes).try_acquire_many_owned(length).map_err(|_| {
            let detail =
                format!("The bodies of this service's requests take {most} bytes already (limits.bodies_bytes)");
            Failure::new(Code::Overloaded, detail)
        })?;
        Ok(Held(Some(permit)))
    }
}

async fn read(body: Body, limits: &BodyLimits) -> Result<(Bytes, Held)> {
    let too_large = || Failure::limit("body_bytes", limits.bytes, "The body is too large");
    // A body that announces too many bytes is refused before it is read.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large());
    }
    let held = match limits.hold(&body) {
        Ok(held) => held,
        Err(refusal) => {
            // Answered before its body has come, a caller that still sends it loses the answer with the connection.
            let mut rest = Limited::new(body, limits.bytes);
            let _ = timeout(limits.time, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
            return Err(refusal);
        }
    };
    match timeout(limits.time, Limited::new(body, limits.bytes).collect()).await {
        Ok(Ok(body)) => Ok((body.to_bytes(), held)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Failure::malformed("The body broke off").because(anyhow::anyhow!(error))),
        Err(_) => {
            let detail = format!("The body didn't arrive within {:?} (limits.body_read_timeout_ms)", limits.time);
            Err(Failure::new(Code::RequestTimeout, detail))
        }
    }
}

/// Refuses a body that says of itself that it isn't JSON in UTF-8, or is coded (RFC 9110, sections 8.3 and 8.4). A body
/// without a type counts as JSON.
fn check_type(headers: &HeaderMap) -> Result<()> {
    for value in headers.get_all(CONTENT_TYPE) {
        if !is_json(value.as_bytes()) {
            let detail = "The body must be application/json in UTF-8, and content-type says otherwise";
            return Err(Failure::new(Code::UnsupportedMediaType, detail));
        }
    }
    for value in headers.get_all(CONTENT_ENCODING) {
        if !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity") {
            let detail = "The relay decodes no body: send it without content-encoding";
            return Err(Failure::new(Code::UnsupportedMediaType, detail));
        }
    }
    Ok(())
}

/// Whether a content type is `application/json`. Its parameters are ignored, as RFC 8259 defines none, except for a
/// `charset` that isn't UTF-8.
fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(b"application/json") && parts.all(|parameter| !is_other_charset(parameter))
}

fn is_other_charset(parameter: &[u8]) -> bool {
    let Some((name, value)) = parameter.split_at_checked("charset=".len()) else { return false };
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let is_utf8 = [&b"utf-8"[..], b"utf8", b"us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known));
    name.eq_ignore_ascii_case(b"charset=") && !is_utf8
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // serde would read an array as an object, by the order of its fields.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Failure::malformed("The body must be an object, not an array"));
    }
    // Parse again for the path of the fault: keeping track of it always costs more than the parsing itself.
    let value = serde_json::from_slice(bytes).map_err(|error| match locate::<T>(bytes) {
        Some(detail) => Failure::malformed(detail),
        None => Failure::malformed(format!("The body can't be read: {error}")),
    })?;
    // `value` holds parameters and data as they came: this also reads what is in them.
    let repeated =
        repeated_members(bytes).map_err(|error| Failure::malformed(format!("The body isn't JSON: {error}")))?;
    match repeated.as_slice() {
        [] => Ok(value),
        paths => Err(Failure::malformed(format!("The body has members more than once: {}", paths.join(", ")))),
    }
}

fn locate<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let path = error.path().to_string();
    let inner = error.inner();
    let said = plain(&inner.to_string());
    // Of a field, `must be a string`; of a member, `unknown field`.
    let separator = if said.starts_with("must be") { " " } else { ": " };
    Some(if inner.is_data() && path != "." {
        format!("{path}{separator}{said}")
    } else if inner.is_data() {
        format!("The body{separator}{said}")
    } else {
        format!("The body isn't JSON: {inner}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use towpath_wire::TransactionRequestOf;

    use super::*;

    type Unit = TransactionRequestOf<Box<RawValue>>;

    fn detail(body: &str) -> String {
        parse::<Unit>(body.as_bytes()).expect_err("refused").problem.detail
    }

    #[test]
    fn a_fault_is_named_with_its_path() {
        let unknown = detail(r#"{"steps": [{"sql": "SELECT 1"}, {"sql": "SELECT 2", "expct": {"exactly": 1}}]}"#);
        assert!(unknown.starts_with("steps[1].expct: unknown field `expct`"), "{unknown}");
        let mistyped = detail(r#"{"steps": [{"sql": 7}]}"#);
        assert!(mistyped.starts_with("steps[0].sql must be a string, not the number 7"), "{mistyped}");
        let missing = detail(r#"{"events": [{"topic": "t", "key": "k"}]}"#);
        assert!(missing.starts_with("events[0]: missing field `type`"), "{missing}");
    }

    #[test]
    fn a_body_is_json_in_utf_8_without_a_coding() {
        let check = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]);
            check_type(&headers).map_err(|failure| failure.code())
        };
        assert_eq!(check_type(&HeaderMap::new()).map_err(|failure| failure.code()), Ok(()));
        for fine in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; charset=us-ascii",
            "application/json; version=1",
        ] {
            assert_eq!(check("content-type", fine), Ok(()), "{fine}");
        }
        for wrong in ["", "text/plain", "application/jsonx", "application/json, text/plain", "json"] {
            assert_eq!(check("content-type", wrong), Err(Code::UnsupportedMediaType), "{wrong}");
        }
        assert_eq!(check("content-type", "application/json; charset=utf-16"), Err(Code::UnsupportedMediaType));
        assert_eq!(check("content-encoding", "identity"), Ok(()));
        assert_eq!(check("content-encoding", "gzip"), Err(Code::UnsupportedMediaType));
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        for body in ["", "{", "{\"steps\": []} x", "\u{feff}{}", "{\"steps\": [}"] {
            let detail = detail(body);
            assert!(detail.contains("isn't JSON") || detail.contains("can't be read"), "{body}: {detail}");
        }
        assert_eq!(detail("[]"), "The body must be an object, not an array");
        let two = detail(r#"{"steps": [{"sql": "SELECT 1", "expect": {"exactly": 1, "at_least": 1}}]}"#);
        assert!(two.starts_with("steps[0].expect") && two.contains("not exactly and at_least both"), "{two}");
        let nested = format!(r#"{{"steps": [{{"sql": "SELECT 1", "params": [{}]}}]}}"#, "[".repeat(200));
        for body in [&nested, r#"{"steps": [{"sql": "SELECT 1", "params": ["\ud800"]}]}"#] {
            assert!(detail(body).contains("isn't JSON"), "{}", detail(body));
        }
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_wherever_it_stands() {
        assert!(detail(r#"{"steps": [], "steps": []}"#).contains("duplicate field"));
        let cases = [
            (r#"{"steps": [{"sql": "SELECT 1", "params": [1, {"a": 1, "a": 2}]}]}"#, "steps[0].params[1].a"),
            (
                r#"{"events": [{"topic": "t", "key": "k", "type": "t", "data": [{"b": 1, "\u0062": 2}]}]}"#,
                "events[0].data[0].b",
            ),
            (
                r#"{"idempotency": {"key": "k", "request_hash": "h", "answer": {"c": {}, "c": {}}}}"#,
                "idempotency.answer.c",
            ),
        ];
        for (body, path) in cases {
            assert!(detail(body).ends_with(&format!("more than once: {path}")), "{}", detail(body));
        }
    }
}
