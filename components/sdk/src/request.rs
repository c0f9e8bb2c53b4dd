//! The request that a handler gets.

mod media;

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
    authority: Option<String>,
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
        Self { method, path: path.into(), query: query.into(), authority: None, headers, body: body.into() }
    }

    /// For this host, with its port where one was named: the header `Host`, or `:authority`.
    #[must_use]
    pub fn for_host(self, authority: Option<String>) -> Self {
        Self { authority, ..self }
    }

    /// The host that the client named, with its port where it named one: the header `Host`, or `:authority`.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.authority.as_deref()
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

    /// The body as JSON: 415 `unsupported_media_type` where it does not say that it is JSON, 400 `malformed_json` where it
    /// isn't, 422 `validation_failed` with every member that comes more than once.
    ///
    /// # Errors
    /// See above.
    pub fn json(&self) -> Result<Value, Problem> {
        if !media::is_one_of(&self.headers, if self.method == Method::PATCH { media::PATCH } else { media::BODY }) {
            let wanted = match self.method {
                Method::PATCH => "application/merge-patch+json or application/json",
                _ => "application/json",
            };
            let detail = format!("The header Content-Type must say that the body is {wanted}, in UTF-8.");
            return Err(Problem::new(415, "unsupported_media_type", detail));
        }
        self.parse()
    }

    /// The data of an event as JSON. An event need not say of which type its data is.
    pub(crate) fn event_json(&self) -> Result<Value, Problem> {
        if !media::may_be_json(&self.headers) {
            return Err(Problem::new(415, "unsupported_media_type", "The data of the event must be JSON."));
        }
        self.parse()
    }

    fn parse(&self) -> Result<Value, Problem> {
        let malformed = |error| Problem::bad_request("malformed_json", format!("The body isn't valid JSON: {error}."));
        let value = serde_json::from_slice(&self.body).map_err(malformed)?;
        let repeated = towpath_wire::repeated_members(&self.body).map_err(malformed)?;
        let error = |field| FieldError { field, code: "duplicate", detail: "must not be repeated".into() };
        match repeated.is_empty() {
            true => Ok(value),
            false => Err(Problem::invalid(repeated.into_iter().map(error).collect())),
        }
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
        fn code(content_type: Option<&str>, body: &str) -> &'static str {
            request("/", content_type, body).json().expect_err("refused").code
        }
        assert_eq!(code(Some("text/plain"), "{}"), "unsupported_media_type");
        assert_eq!(code(Some("application/json"), "{"), "malformed_json");
        assert_eq!(code(Some("application/json"), ""), "malformed_json");
        assert_eq!(code(Some("application/json"), &"[".repeat(10_000)), "malformed_json");
        assert_eq!(code(None, "{}"), "unsupported_media_type");
        assert!(request("/", None, "{}").event_json().is_ok(), "an event need not say it");
    }

    #[test]
    fn a_merge_patch_is_for_patch_alone() {
        let mut patch = request("/", Some("application/merge-patch+json"), "{}");
        assert_eq!(patch.json().expect_err("refused").status, 415);
        patch.method = Method::PATCH;
        assert!(patch.json().is_ok());
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_with_its_path() {
        let twice = r#"{"a": 1, "lines": [{"sku": "A", "\u0073ku": "B"}], "a": 2}"#;
        for read in [Request::json, Request::event_json] {
            let problem = read(&request("/", Some("application/json"), twice)).expect_err("refused");
            let named: Vec<_> = problem.errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
            assert_eq!((problem.status, named), (422, vec![("lines[0].sku", "duplicate"), ("a", "duplicate")]));
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
