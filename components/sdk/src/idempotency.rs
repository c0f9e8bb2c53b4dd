//! Idempotency keys of clients: a repeated request gets the first response again and changes nothing. The rule for all
//! routes is docs/idempotency.md.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Problem, Request, Response};

/// The value of `Idempotency-Key`: 1 to 255 visible ASCII characters.
///
/// ```
/// use towpath_sdk::{IdempotencyKey, Request};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("idempotency-key", "key-1".parse().unwrap());
/// let request = Request::new(http::Method::POST, "/v1/orders", headers, "");
/// assert_eq!(IdempotencyKey::required(&request).unwrap().as_str(), "key-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The first response to a key, as the relay stores it in the same transaction as the unit of work.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::StoredAnswer;
///
/// let answer = StoredAnswer::new(201, Some("/v1/things/1".into()), &json!({"id": 1}));
/// assert_eq!(StoredAnswer::from_stored(answer.to_stored()), Ok(answer.clone()));
/// let response = answer.into_response(true);
/// assert_eq!(response.get_header("location"), Some("/v1/things/1"));
/// assert_eq!(response.get_header("idempotent-replayed"), Some("true"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Location`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The header `ETag`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The body.
    pub body: Value,
}

impl IdempotencyKey {
    /// The key of a request that must have one.
    ///
    /// # Errors
    /// 400 `idempotency_key_missing` or `idempotency_key_invalid`.
    pub fn required(request: &Request) -> Result<Self, Problem> {
        let missing = || Problem::bad_request("idempotency_key_missing", "This request needs an Idempotency-Key.");
        Self::optional(request)?.ok_or_else(missing)
    }

    /// The key of a request that may have one.
    ///
    /// # Errors
    /// 400 `idempotency_key_invalid`.
    pub fn optional(request: &Request) -> Result<Option<Self>, Problem> {
        let mut values = request.headers().get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            // Whoever reads the other one would answer for another request.
            return Err(Problem::bad_request("idempotency_key_invalid", "A request has one Idempotency-Key at most."));
        }
        let key = value.as_bytes();
        if key.is_empty() || key.len() > 255 || !key.iter().all(u8::is_ascii_graphic) {
            let detail = "An Idempotency-Key has 1 to 255 visible ASCII characters.";
            return Err(Problem::bad_request("idempotency_key_invalid", detail));
        }
        Ok(Some(Self(String::from_utf8_lossy(key).into_owned())))
    }

    /// The key as the relay gets it: unique for the operation and the caller, with a fixed length. Without a caller, all
    /// callers share their keys.
    #[must_use]
    pub fn within(&self, operation: &str, caller: Option<&str>) -> String {
        let mut hash = Sha256::new().chain_update(self.0.as_bytes());
        if let Some(caller) = caller {
            // A key holds no line feed, so no two pairs give the same bytes.
            hash = hash.chain_update("\n").chain_update(caller);
        }
        format!("{operation}:{}", hex(&hash.finalize()))
    }

    /// As the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StoredAnswer {
    /// A JSON response to store.
    #[must_use]
    pub fn new(status: u16, location: Option<String>, body: &impl Serialize) -> Self {
        Self { status, location, etag: None, body: serde_json::to_value(body).unwrap_or(Value::Null) }
    }

    /// With the entity tag of what it shows: clients may keep it, and ask each time whether it still is the current version.
    #[must_use]
    pub fn with_etag(self, etag: String) -> Self {
        Self { etag: Some(etag), ..self }
    }

    /// Reads what the relay stored.
    ///
    /// # Errors
    /// 500 where it isn't a response: a bug.
    pub fn from_stored(stored: Value) -> Result<Self, Problem> {
        serde_json::from_value(stored).map_err(|error| Problem::internal(format!("a stored answer: {error}")))
    }

    /// The form in which the relay stores it.
    #[must_use]
    pub fn to_stored(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// The HTTP response; a replayed one has the header `Idempotent-Replayed`.
    #[must_use]
    pub fn into_response(self, replayed: bool) -> Response {
        let mut response = Response::json(self.status, &self.body);
        if let Some(location) = &self.location {
            response = response.header("location", location);
        }
        if let Some(etag) = &self.etag {
            response = response.header("etag", etag).header("cache-control", "no-cache");
        }
        if replayed {
            response = response.header("idempotent-replayed", "true");
        }
        response
    }
}

/// The hash of a request: of its operation (`POST /v1/orders`) and its body in canonical form. The order of fields and
/// white space do not change it.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::request_hash;
///
/// let hash = request_hash("POST /v1/orders", &json!({"a": 1, "b": 2}));
/// assert_eq!(hash, request_hash("POST /v1/orders", &json!({"b": 2, "a": 1})));
/// assert_ne!(hash, request_hash("POST /v1/orders", &json!({"a": 1, "b": 3})));
/// ```
#[must_use]
pub fn request_hash(operation: &str, body: &impl Serialize) -> String {
    let body = serde_json::to_value(body).unwrap_or(Value::Null);
    let mut canonical = String::new();
    write_canonical(&body, &mut canonical);
    hex(&Sha256::new().chain_update(operation).chain_update([0]).chain_update(canonical).finalize())
}

/// Sorted keys, no white space. Differs from RFC 8785 for floats, which no request of this API holds.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut names: Vec<_> = object.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in names {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// 422 `idempotency_key_reused`: the first request with this key was another one.
#[must_use]
pub fn reused() -> Problem {
    Problem::unprocessable("idempotency_key_reused", "This Idempotency-Key was used with another request.")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use serde_json::json;

    use super::*;

    fn key(value: Option<&[u8]>) -> Result<IdempotencyKey, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert("idempotency-key", HeaderValue::from_bytes(value).expect("a header value"));
        }
        IdempotencyKey::required(&Request::new(Method::POST, "/", headers, ""))
    }

    #[test]
    fn a_key_must_be_there_and_visible() {
        let refusal = |value| key(value).map_err(|problem| (problem.status, problem.code)).expect_err("refused");
        assert_eq!(refusal(None), (400, "idempotency_key_missing"));
        for wrong in [&b""[..], b"a b", b"a\tb", b"\xc3\xa4", &[b'x'; 256]] {
            assert_eq!(refusal(Some(wrong)), (400, "idempotency_key_invalid"), "{wrong:?}");
        }
        let longest = key(Some(&[b'x'; 255])).expect("a key");
        assert!(longest.within("inventory.adjust", Some(&"ä".repeat(128))).len() <= 255);
    }

    #[test]
    fn a_request_has_one_key() {
        let mut headers = HeaderMap::new();
        let read =
            |headers: &HeaderMap| IdempotencyKey::optional(&Request::new(Method::POST, "/", headers.clone(), ""));
        assert_eq!(read(&headers), Ok(None));
        headers.append("idempotency-key", HeaderValue::from_static("a"));
        assert_eq!(read(&headers).expect("a key").as_ref().map(IdempotencyKey::as_str), Some("a"));
        headers.append("Idempotency-Key", HeaderValue::from_static("a"));
        assert_eq!(read(&headers).expect_err("two, though the same").code, "idempotency_key_invalid");
    }

    #[test]
    fn one_key_is_two_in_two_operations_or_of_two_callers() {
        let key = key(Some(b"k")).expect("a key");
        let forms = [("a", None), ("b", None), ("a", Some("")), ("a", Some("c")), ("a", Some("d")), ("b", Some("c"))];
        let distinct: std::collections::BTreeSet<_> =
            forms.iter().map(|(of, caller)| key.within(of, *caller)).collect();
        assert_eq!(distinct.len(), forms.len());
        assert_eq!(key.within("a", Some("c")), key.clone().within("a", Some("c")));
    }

    #[test]
    fn a_key_without_a_caller_stays_as_older_releases_wrote_it() {
        // Their answers must be found after an upgrade: this is `printf k | sha256sum`.
        let key = key(Some(b"k")).expect("a key");
        let written = "inventory.adjust:8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
        assert_eq!(key.within("inventory.adjust", None), written);
    }

    #[test]
    fn the_hash_sees_content_and_not_form() {
        let a: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).expect("JSON");
        let b: Value = serde_json::from_str(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#).expect("JSON");
        assert_eq!(request_hash("x", &a), request_hash("x", &b));
        assert_ne!(request_hash("x", &a), request_hash("y", &a));
        for other in [json!({"a": "1"}), json!({"a": [1]}), json!({"a": 1, "b": null}), json!([1])] {
            assert_ne!(request_hash("x", &other), request_hash("x", &json!({"a": 1})));
        }
    }

    #[test]
    fn a_stored_answer_comes_back_the_same_and_says_so() {
        let answer = StoredAnswer::new(202, Some("/v1/orders/1".into()), &json!({"id": "1"})).with_etag("\"1\"".into());
        let first = answer.clone().into_response(false);
        let again = StoredAnswer::from_stored(answer.to_stored()).expect("an answer").into_response(true);
        assert_eq!((first.status(), first.body()), (again.status(), again.body()));
        assert_eq!((again.get_header("location"), again.get_header("etag")), (Some("/v1/orders/1"), Some("\"1\"")));
        assert_eq!(
            (first.get_header("idempotent-replayed"), again.get_header("idempotent-replayed")),
            (None, Some("true"))
        );
    }
}
