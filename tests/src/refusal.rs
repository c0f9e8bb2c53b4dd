//! Looking at problem documents.

use std::collections::BTreeSet;

use towpath_client::{Answer, Problem};

/// A field that a refusal must name, with its code.
pub type Wrong<'a> = (&'a str, &'a str);

/// The problem document of an answer that must be a refusal with this status and code.
///
/// # Panics
/// Where it is anything else, or where the document isn't as RFC 9457 and the API's own rules want it.
#[must_use]
pub fn assert_refused(answer: &Answer, status: u16, code: &str) -> Problem {
    let text = answer.text();
    assert_eq!(answer.status(), status, "wanted {status} {code}: {text}");
    let content_type = answer.header("content-type").unwrap_or("none");
    assert!(content_type.starts_with("application/problem+json"), "content type {content_type}: {text}");
    let problem = answer.problem().unwrap_or_else(|cause| panic!("not a problem document: {cause}"));
    assert_eq!(problem.code, code, "{text}");
    assert_eq!(problem.status, status, "the document repeats the status: {text}");
    let kind = format!("https://towpath.dev/problems/{}", code.replace('_', "-"));
    assert_eq!(problem.kind, kind, "the type names the code: {text}");
    assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "a person reads it too: {text}");
    problem
}

/// Checks that a refusal names exactly these fields, each with its code, in any order.
///
/// # Panics
/// Where it names others, fewer or more.
pub fn assert_wrong_fields(problem: &Problem, wanted: &[Wrong<'_>]) {
    let named: BTreeSet<Wrong<'_>> =
        problem.errors.iter().map(|wrong| (wrong.field.as_str(), wrong.code.as_str())).collect();
    assert_eq!(named, wanted.iter().copied().collect(), "{problem:?}");
    assert!(problem.errors.iter().all(|wrong| !wrong.detail.is_empty()), "a person reads it too: {problem:?}");
}
