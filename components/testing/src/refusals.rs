//! Asks a component's handler, and reads what it refuses.

use std::time::Duration;

use serde_json::Value;
use towpath_sdk::{Budget, Context, Problem, Request, Response, Trace};

/// Status, code, and the field and code of everything that is wrong.
pub type Refusal = (u16, String, Vec<(String, String)>);

/// What the handler answers; a problem as its document. A body is said to be JSON, unless the headers say something else.
///
/// # Panics
/// Where the method or a header can't stand in a request.
pub async fn ask(
    handler: impl AsyncFnOnce(Context, Request) -> Result<Response, Problem>,
    method: &str,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Response {
    let mut map = http::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a header value"));
    }
    if !body.is_empty() {
        map.entry("content-type").or_insert(http::HeaderValue::from_static("application/json"));
    }
    let request = Request::new(method.parse().expect("a method"), path, map, body.to_owned());
    let budget = Budget::of_all(Duration::from_secs(1));
    let context = Context { trace: Trace::root(), request_id: "test".into(), budget };
    handler(context, request).await.unwrap_or_else(|problem| problem.into_response())
}

/// Reads a refusal, and holds its document to what every problem document has.
///
/// # Panics
/// Where it is no problem document, or one without words.
#[must_use]
pub fn read(response: &Response) -> Refusal {
    assert_eq!(response.get_header("content-type"), Some("application/problem+json"));
    let document: Value = serde_json::from_slice(response.body()).expect("a problem document");
    assert_eq!(document["status"], response.status());
    for words in ["type", "title", "detail"] {
        assert!(document[words].as_str().is_some_and(|text| !text.is_empty()), "{words}: {document}");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect();
    (response.status(), text(&document["code"]), errors)
}

/// A refusal without fields.
#[must_use]
pub fn plain(status: u16, code: &str) -> Refusal {
    (status, code.into(), vec![])
}

/// The refusal of a request with wrong fields: each with its code.
#[must_use]
pub fn invalid(errors: &[(&str, &str)]) -> Refusal {
    (422, "validation_failed".into(), fields(errors))
}

/// Fields with their codes.
#[must_use]
pub fn fields(errors: &[(&str, &str)]) -> Vec<(String, String)> {
    errors.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
}
