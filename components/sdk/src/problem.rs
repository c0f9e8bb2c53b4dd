//! Problem documents (RFC 9457): every error response has this form.

use serde::Serialize;
use serde_json::{Map, Value};

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its path: `lines[1].quantity`.
    pub field: String,
    /// The stable code of what is wrong with it: `required`, `too_large`, ...
    pub code: &'static str,
    /// For a person.
    pub detail: String,
}

/// An error response: an HTTP status, a stable code for programs, and a detail for people.
///
/// ```
/// use towpath_sdk::Problem;
///
/// let problem = Problem::unavailable("unavailable", "The catalogue can't be reached.", "connection refused");
/// let response = problem.into_response();
/// assert_eq!((response.status(), response.get_header("retry-after")), (503, Some("1")));
/// let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
/// assert_eq!((&body["code"], &body["title"]), (&"unavailable".into(), &"Unavailable".into()));
/// assert!(!body.to_string().contains("refused"), "the cause is for the log");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// What happened in this case, for a person. Clients read it: internals belong into `cause`.
    pub detail: String,
    /// Every invalid field, for `validation_failed`.
    pub errors: Vec<FieldError>,
    /// Seconds after which to try again, as `Retry-After`.
    pub retry_after_seconds: Option<u32>,
    /// The methods that the path allows, as `Allow`.
    pub allow: Option<&'static str>,
    /// Further members of the document, such as what would be right.
    pub members: Option<Box<Map<String, Value>>>,
    /// For the log alone.
    pub cause: Option<Box<str>>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    members: Option<&'a Map<String, Value>>,
}

impl Problem {
    /// A problem of any kind; the named constructors below cover the usual ones.
    #[must_use]
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            allow: None,
            members: None,
            cause: None,
        }
    }

    /// 400: the request can't be read.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(400, code, detail)
    }

    /// 401 `unauthorized`: no token, or not the right one.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "unauthorized", "The bearer token is missing or wrong.")
    }

    /// 401 `invalid_token` (RFC 6750, 3.1): there is a token, and it is not taken. The reason is in `WWW-Authenticate` too, so it
    /// may have neither quotes nor backslashes.
    #[must_use]
    pub fn invalid_token(reason: &'static str) -> Self {
        Self::new(401, "invalid_token", reason)
    }

    /// 403 `insufficient_scope` (RFC 6750, 3.1): whoever has the token may not do this. The document names the scope that is
    /// missing.
    #[must_use]
    pub fn insufficient_scope(scope: &'static str) -> Self {
        Self::new(403, "insufficient_scope", format!("The token lacks the scope {scope}.")).with("scope", scope)
    }

    /// 404: the resource does not exist.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(404, code, detail)
    }

    /// 404 `not_found`: there is no resource at this path.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::not_found("not_found", "There is no resource at this path.")
    }

    /// 405 `method_not_allowed`; `allow` is the value of the header `Allow`.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(405, "method_not_allowed", format!("This path allows {allow}."));
        problem.allow = Some(allow);
        problem
    }

    /// 409: the request is valid, but the current state does not allow it.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(409, code, detail)
    }

    /// 413 `body_too_large`.
    #[must_use]
    pub fn body_too_large(limit_bytes: usize) -> Self {
        Self::new(413, "body_too_large", format!("The body may have {limit_bytes} bytes at most."))
    }

    /// 422: the request is well-formed, but its content is invalid.
    #[must_use]
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(422, code, detail)
    }

    /// 422 `validation_failed`, with every invalid field.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.detail),
            many => format!("{} fields are invalid.", many.len()),
        };
        Self { errors, ..Self::new(422, "validation_failed", detail) }
    }

    /// 500 `internal`: a bug. `cause` goes to the log and not to the client.
    #[must_use]
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(
            500,
            "internal",
            "An internal error occurred. The log has its cause under the X-Request-Id of this response.",
        )
        .because(cause)
    }

    /// 503 with `Retry-After`: a dependency is not available. `cause` goes to the log.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>, cause: impl Into<String>) -> Self {
        let mut problem = Self::new(503, code, detail).because(cause);
        problem.retry_after_seconds = Some(1);
        problem
    }

    /// 503 `unavailable`: the service is configured wrongly, so nothing was done, and the same request works once that is
    /// mended. `cause` goes to the log.
    #[must_use]
    pub fn misconfigured(cause: impl Into<String>) -> Self {
        let detail = "This service is not configured rightly. The log has the cause.";
        Self::unavailable("unavailable", detail, format!("wrong configuration: {}", cause.into()))
    }

    /// 503 `outcome_unknown`: the request may have been carried out. `cause` goes to the log.
    #[must_use]
    pub fn outcome_unknown(cause: impl Into<String>) -> Self {
        let detail =
            "The request may have been carried out. Repeat it with the same Idempotency-Key, or read the resource.";
        Self::unavailable("outcome_unknown", detail, cause)
    }

    /// With a further member of the document (RFC 9457, 3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// With a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into().into_boxed_str());
        self
    }

    /// What `WWW-Authenticate` says of it (RFC 6750, 3).
    pub(crate) fn challenge(&self) -> Option<String> {
        let scope = self.members.as_ref().and_then(|members| members.get("scope")?.as_str());
        match (self.code, scope) {
            ("insufficient_scope", Some(scope)) => {
                Some(format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
            }
            ("invalid_token", _) => {
                Some(format!(r#"Bearer error="invalid_token", error_description="{}""#, self.detail))
            }
            _ => (self.status == 401).then(|| "Bearer".into()),
        }
    }

    /// The document, as JSON.
    pub(crate) fn document(&self) -> Vec<u8> {
        let document = Document {
            kind: format!("https://towpath.dev/problems/{}", self.code.replace('_', "-")),
            title: title(self.code),
            status: self.status,
            code: self.code,
            detail: &self.detail,
            errors: &self.errors,
            members: self.members.as_deref(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The title: the code, written as words.
fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)?;
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: Problem) -> serde_json::Value {
        serde_json::from_slice(problem.into_response().body()).expect("a problem is JSON")
    }

    #[test]
    fn a_problem_says_what_is_wrong_and_hides_its_cause() {
        let document = document(Problem::internal("password authentication failed for user postgres"));
        assert_eq!(document["type"], "https://towpath.dev/problems/internal");
        assert_eq!(document["title"], "Internal");
        assert_eq!(document["status"], 500);
        assert!(!document.to_string().contains("password"));
        assert!(document.get("errors").is_none());
    }

    #[test]
    fn wrong_fields_are_all_listed() {
        let error = |field: &str| FieldError { field: field.into(), code: "required", detail: "is required".into() };
        let document = document(Problem::invalid(vec![error("sku"), error("lines[1].quantity")]));
        assert_eq!(document["code"], "validation_failed");
        assert_eq!(document["errors"][1]["field"], "lines[1].quantity");
        assert_eq!(document["errors"][1]["code"], "required");
    }

    #[test]
    fn further_members_stand_beside_the_others() {
        let document = document(Problem::conflict("price_changed", "why").with("total", 7));
        assert_eq!((&document["code"], &document["total"]), (&"price_changed".into(), &7.into()));
    }

    #[test]
    fn headers_go_with_their_status() {
        let header = |problem: Problem, name: &str| problem.into_response().get_header(name).map(str::to_owned);
        assert_eq!(header(Problem::unavailable("unavailable", "", ""), "retry-after").as_deref(), Some("1"));
        assert_eq!(header(Problem::method_not_allowed("GET, POST"), "allow").as_deref(), Some("GET, POST"));
        assert_eq!(header(Problem::unauthorized(), "www-authenticate").as_deref(), Some("Bearer"));
        let challenge = |problem| header(problem, "www-authenticate");
        let expired = r#"Bearer error="invalid_token", error_description="The token has expired.""#;
        assert_eq!(challenge(Problem::invalid_token("The token has expired.")).as_deref(), Some(expired));
        let missing = r#"Bearer error="insufficient_scope", scope="orders:read""#;
        assert_eq!(challenge(Problem::insufficient_scope("orders:read")).as_deref(), Some(missing));
        assert_eq!(challenge(Problem::new(403, "foreign_origin", "")), None);
        assert_eq!(header(Problem::no_such_path(), "content-type").as_deref(), Some("application/problem+json"));
    }
}
