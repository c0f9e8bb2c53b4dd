//! Entity tags (RFC 9110, 8.8.3), made from a row's version, and the headers `If-Match` and `If-None-Match`.

use crate::{Problem, Request};

/// The entity tag of a version: `"7"`.
#[must_use]
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The versions that `If-Match` allows.
///
/// ```
/// use towpath_sdk::{Request, etag::{IfMatch, etag}};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("if-match", etag(7).parse().unwrap());
/// let request = Request::new(http::Method::PATCH, "/v1/things/1", headers, "");
/// let demanded = IfMatch::required(&request).unwrap();
/// assert_eq!(demanded.check(7), Ok(()));
/// assert_eq!(demanded.check(8).unwrap_err().code, "precondition_failed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: any version.
    Any,
    /// One of these.
    Versions(Vec<i64>),
}

impl IfMatch {
    /// Reads the header `If-Match`.
    ///
    /// # Errors
    /// 428 `precondition_required` without the header; 400 `malformed_if_match` where it can't be read.
    pub fn required(request: &Request) -> Result<Self, Problem> {
        let Some(header) = request.headers().get("if-match") else {
            return Err(Problem::new(
                428,
                "precondition_required",
                "This request needs If-Match with the ETag of the version that you read.",
            ));
        };
        let text = header.to_str().unwrap_or_default();
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let tags = tags(text).ok_or_else(|| {
            Problem::bad_request("malformed_if_match", "If-Match must be a list of entity tags, or *.")
        })?;
        // If-Match compares strongly: a weak tag matches nothing.
        Ok(Self::Versions(tags.iter().filter(|(weak, _)| !weak).filter_map(|(_, tag)| version(tag)).collect()))
    }

    /// Compares with the current version.
    ///
    /// # Errors
    /// 412 `precondition_failed`.
    pub fn check(&self, current: i64) -> Result<(), Problem> {
        match self {
            Self::Any => Ok(()),
            Self::Versions(versions) if versions.contains(&current) => Ok(()),
            Self::Versions(_) => Err(stale()),
        }
    }
}

/// 412 `precondition_failed`: another request changed the resource first.
#[must_use]
pub fn stale() -> Problem {
    Problem::new(412, "precondition_failed", "The resource has another version. Read it again and repeat the change.")
}

/// Whether `If-None-Match` names this version, so that 304 is the answer.
///
/// ```
/// use towpath_sdk::{Request, etag::is_not_modified};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("if-none-match", "W/\"7\"".parse().unwrap());
/// let request = Request::new(http::Method::GET, "/v1/things/1", headers, "");
/// assert!(is_not_modified(&request, 7) && !is_not_modified(&request, 8));
/// ```
#[must_use]
pub fn is_not_modified(request: &Request, current: i64) -> bool {
    let Some(text) = request.header("if-none-match") else { return false };
    if text.trim() == "*" {
        return true;
    }
    // If-None-Match compares weakly: `W/"7"` is the same as `"7"`.
    tags(text).is_some_and(|tags| tags.iter().any(|(_, tag)| version(tag) == Some(current)))
}

/// Accepts only the form that [`etag`] writes, so not `"007"`.
fn version(tag: &str) -> Option<i64> {
    tag.parse().ok().filter(|version: &i64| version.to_string() == tag)
}

/// The tags of a list, each with whether it is weak.
fn tags(text: &str) -> Option<Vec<(bool, &str)>> {
    let mut rest = text.trim();
    let mut tags = Vec::new();
    loop {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |rest| (true, rest));
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push((weak, tag));
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(tags);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn request(name: &'static str, value: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        Request::new(Method::GET, "/", headers, "")
    }

    fn if_match(value: &str) -> Result<IfMatch, Problem> {
        IfMatch::required(&request("if-match", value))
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(if_match("\"7\", \"8\"").and_then(|tags| tags.check(8)), Ok(()));
        assert_eq!(if_match("*").and_then(|tags| tags.check(1)), Ok(()));
        for stale in ["\"6\"", "W/\"7\"", "\"007\"", "\"other\""] {
            let problem = if_match(stale).and_then(|tags| tags.check(7)).expect_err("refused");
            assert_eq!((problem.status, problem.code), (412, "precondition_failed"), "{stale}");
        }
    }

    #[test]
    fn if_match_must_be_there_and_readable() {
        let problem = IfMatch::required(&request("x", "y")).expect_err("refused");
        assert_eq!((problem.status, problem.code), (428, "precondition_required"));
        for malformed in ["7", "\"7", "\"7\" \"8\"", "\"7\",", ""] {
            let problem = if_match(malformed).expect_err("refused");
            assert_eq!((problem.status, problem.code), (400, "malformed_if_match"), "{malformed}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for same in ["\"7\"", "W/\"7\"", "\"1\",\"7\"", "*"] {
            assert!(is_not_modified(&request("if-none-match", same), 7), "{same}");
        }
        for other in ["\"8\"", "7", ""] {
            assert!(!is_not_modified(&request("if-none-match", other), 7), "{other}");
        }
    }
}
