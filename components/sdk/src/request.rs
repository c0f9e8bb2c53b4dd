//! The request that a handler gets.

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{FieldError, Fields, Problem};

/// The header that names a request in every log.
pub const REQUEST_ID: &str = "x-request-id";

/// A request with its body in memory, bounded by [`serve`](crate::serve).
///
/// ```
/// use towpath_sdk::{Request, parse};
///
/// let request = Request::new(http::Method::HEAD, "/v1/things/a%20b?limit=5", http::HeaderMap::new(), "");
/// assert_eq!((request.method(), &*request.segments().each()), ("GET", &["v1", "things", "a b"][..]));
/// let limit = request.read_query(|query| query.required("limit", |value| parse::integer_text(value, 1..=100)));
/// assert_eq!(limit, Ok(5));
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

/// The decoded segments of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments(Vec<String>);

impl Segments {
    /// As slices, to match on.
    #[must_use]
    pub fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl Request {
    /// A request; `path_and_query` as in the request line.
    #[must_use]
    pub fn new(method: Method, path_and_query: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self { method, path: path.into(), query: query.into(), headers, body: body.into() }
    }

    /// The method, with `HEAD` as `GET`: `serve` drops the body of the response to a `HEAD`.
    #[must_use]
    pub fn method(&self) -> &str {
        if self.is_head() { "GET" } else { self.method.as_str() }
    }

    /// The method as the client sent it.
    #[must_use]
    pub fn http_method(&self) -> &Method {
        &self.method
    }

    /// Whether the method is `HEAD`.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The path as the client sent it, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as the client sent it, without `?`.
    #[must_use]
    pub fn raw_query(&self) -> &str {
        &self.query
    }

    /// The path, split at `/` and decoded. Empty segments stay: `/a//b` is not `/a/b`. A segment that is not UTF-8
    /// matches no route.
    #[must_use]
    pub fn segments(&self) -> Segments {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        let decode = |part: &str| percent_decode_str(part).decode_utf8().map_or_else(|_| "\0".into(), Into::into);
        Segments(path.split('/').map(decode).collect())
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The value of a header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as the client sent it.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON: 415 `unsupported_media_type` where it says that it is something else, 400 `malformed_json`
    /// where it isn't.
    ///
    /// # Errors
    /// See above.
    pub fn json(&self) -> Result<Value, Problem> {
        if !self.headers.get("content-type").is_none_or(|value| is_json(value.as_bytes())) {
            return Err(Problem::new(415, "unsupported_media_type", "The body must be application/json."));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::bad_request("malformed_json", format!("The body isn't valid JSON: {error}.")))
    }

    /// Reads the JSON body field by field; see [`Fields::read`].
    ///
    /// # Errors
    /// As [`Request::json`] and [`Fields::read`].
    pub fn read_body<T>(&self, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Problem> {
        Fields::read(&self.json()?, read)
    }

    /// Reads the query's parameters field by field, each as text; see [`Fields::read`]. A repeated one is invalid.
    ///
    /// # Errors
    /// As [`Fields::read`].
    pub fn read_query<T>(&self, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Problem> {
        let mut object = Map::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            if object.insert(name.to_string(), Value::String(value.into())).is_some() {
                let detail = "must not be repeated".into();
                return Err(Problem::invalid(vec![FieldError { field: name.into(), code: "duplicate", detail }]));
            }
        }
        Fields::read(&Value::Object(object), read)
    }
}

/// `application/json`, or any type with `+json`, with or without parameters.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, content_type: Option<&str>, body: &str) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("content-type", content_type.parse().expect("a header value"));
        }
        Request::new(Method::POST, path, headers, body.to_owned())
    }

    #[test]
    fn segments_are_decoded_once_and_empty_ones_stay() {
        assert_eq!(request("/v1/inventory/A%2FB%20c?x=1", None, "").segments().each(), ["v1", "inventory", "A/B c"]);
        assert_eq!(request("/a//b", None, "").segments().each(), ["a", "", "b"]);
        assert_eq!(request("/%252F", None, "").segments().each(), ["%2F"]);
        assert_eq!(request("/%ff", None, "").segments().each(), ["\0"]);
        assert_eq!(request("/", None, "").segments().each(), [""]);
    }

    #[test]
    fn a_body_that_is_no_json_is_refused() {
        let code = |content_type, body| request("/", content_type, body).json().expect_err("refused").code;
        assert_eq!(code(Some("text/plain"), "{}"), "unsupported_media_type");
        assert_eq!(code(Some("application/json"), "{"), "malformed_json");
        assert_eq!(code(None, ""), "malformed_json");
        assert_eq!(code(Some("application/json"), &"[".repeat(10_000)), "malformed_json");
        for fine in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(request("/", Some(fine), "{}").json().is_ok(), "{fine}");
        }
    }

    #[test]
    fn a_query_parameter_that_comes_twice_is_refused() {
        let problem = request("/?a=1&a=2", None, "").read_query(|_| Some(())).expect_err("refused");
        assert_eq!((problem.errors[0].field.as_str(), problem.errors[0].code), ("a", "duplicate"));
    }

    #[test]
    fn an_unknown_query_parameter_is_refused() {
        let problem = request("/?limt=5", None, "").read_query(|_| Some(())).expect_err("refused");
        assert_eq!((problem.errors[0].field.as_str(), problem.errors[0].code), ("limt", "unknown_field"));
    }
}
