//! Errors of the relay's interface: problem documents (RFC 9457) with a stable code.

use serde::{Deserialize, Serialize};

/// A problem document, `application/problem+json`.
///
/// ```
/// use towpath_wire::{Code, Problem};
///
/// let problem = Problem::new(Code::Contention, "A lock wasn't free in time");
/// assert_eq!((problem.status, problem.retryable), (503, true));
/// assert_eq!(problem.kind, "https://towpath.dev/problems/contention");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Identifies the kind of problem: `https://towpath.dev/problems/<code>` with hyphens.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code that programs decide on.
    pub code: Code,
    /// This occurrence, for a person. It never holds what belongs in the log alone: SQL, addresses, drivers' messages.
    pub detail: String,
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The step that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRef>,
    /// PostgreSQL's SQLSTATE, if the database refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The constraint that was violated, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// The column that the database names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The parameter, counted from 1, whose value doesn't fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<usize>,
    /// The character of the step's SQL, counted from 1, where the database found the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// What the database suggests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A step of a unit of work, as an error names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRef {
    /// Its index, from 0.
    pub index: usize,
    /// Its label, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many rows it touched, if its expectation wasn't met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affected: Option<u64>,
}

/// Whose fault an error is.
///
/// ```
/// use towpath_wire::{Code, Fault};
///
/// assert_eq!(Code::MalformedRequest.fault(), Fault::Caller);
/// assert!(Code::Unavailable.is_retryable());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The caller's: the same request fails again.
    Caller,
    /// That of a server behind the relay.
    Dependency,
    /// The relay's own.
    Relay,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $status:literal $fault:ident $retryable:literal $title:literal;)*) => {
        /// The stable codes of the relay's errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whose fault it is.
            #[must_use]
            pub fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            /// The kind of problem in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body isn't JSON, or hasn't the shape that the interface describes.
    MalformedRequest "malformed_request" 400 Caller false "The request can't be read";
    /// No token, or one that belongs to no service.
    Unauthorized "unauthorized" 401 Caller false "The bearer token is missing or unknown";
    /// The service may not do this: another service's topic, a feature that relay.toml doesn't give it.
    Forbidden "forbidden" 403 Caller false "Not allowed to this service";
    /// No such path.
    NotFound "not_found" 404 Caller false "No such resource";
    /// The cache holds nothing under this key.
    CacheMiss "cache_miss" 404 Caller false "Not in the cache";
    /// No such method on this path; the header `allow` names those that it has.
    MethodNotAllowed "method_not_allowed" 405 Caller false "No such method on this resource";
    /// The body didn't arrive in time.
    RequestTimeout "request_timeout" 408 Caller true "The request didn't arrive in time";
    /// Another request with this idempotency key is still in flight.
    IdempotencyInFlight "idempotency_in_flight" 409 Caller true "A request with this key is in flight";
    /// A step touched another number of rows than it expects.
    ExpectationFailed "expectation_failed" 409 Caller false "A step touched another number of rows than it expects";
    /// A constraint of the schema was violated (SQLSTATE class 23).
    ConstraintViolation "constraint_violation" 409 Caller false "A constraint was violated";
    /// A limit of the configuration: too many steps, rows, bytes, a value too large.
    LimitExceeded "limit_exceeded" 413 Caller false "A limit was exceeded";
    /// The body has another media type than JSON, or a content coding.
    UnsupportedMediaType "unsupported_media_type" 415 Caller false "The body isn't plain JSON";
    /// Two fields of the request contradict each other.
    ContradictoryRequest "contradictory_request" 422 Caller false "The request contradicts itself";
    /// A parameter doesn't fit its column.
    InvalidParameter "invalid_parameter" 422 Caller false "A parameter doesn't fit its type";
    /// The statement is of a kind that isn't allowed.
    StatementRefused "statement_refused" 422 Caller false "The statement isn't allowed";
    /// PostgreSQL refused the statement: syntax, a missing table, a missing privilege, a division by zero.
    StatementFailed "statement_failed" 422 Caller false "The statement failed";
    /// The idempotency key was used with another request.
    IdempotencyReused "idempotency_reused" 422 Caller false "The key was used for another request";
    /// Too many requests at once, of this service or in all.
    Overloaded "overloaded" 503 Relay true "Too many requests at once";
    /// A lock wasn't free in time, or the relay's retries all met serialization failures or deadlocks.
    Contention "contention" 503 Dependency true "Too many others work on the same rows";
    /// PostgreSQL, Redis or Kafka can't be reached.
    Unavailable "unavailable" 503 Dependency true "A server can't be reached";
    /// A statement took longer than its limit.
    StatementTimeout "statement_timeout" 503 Dependency true "The statement took too long";
    /// The relay is stopping.
    ShuttingDown "shutting_down" 503 Relay true "The relay is stopping";
    /// The answer to COMMIT was lost, and the relay could not find out whether it took place: the unit of work may have
    /// committed. Repeat it only under the same idempotency key or inbox id.
    OutcomeUnknown "outcome_unknown" 504 Dependency true "The outcome of the COMMIT is unknown";
    /// A fault in the relay.
    Internal "internal" 500 Relay false "The relay failed";
}

impl Problem {
    /// The problem of this code, with its status, fault and title; `detail` is for a person.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://towpath.dev/problems/{}", code.as_str().replace('_', "-")),
            title: code.title().into(),
            status: code.status(),
            code,
            detail: detail.into(),
            fault: code.fault(),
            retryable: code.is_retryable(),
            step: None,
            sqlstate: None,
            constraint: None,
            column: None,
            parameter: None,
            position: None,
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_as_itself() {
        for code in Code::ALL {
            let json = serde_json::to_string(code).expect("a code is a string");
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<Code>(&json).expect("and reads back"), *code);
        }
    }

    #[test]
    fn the_status_agrees_with_the_fault() {
        for code in Code::ALL {
            let client_error = (400..500).contains(&code.status());
            assert_eq!(client_error, code.fault() == Fault::Caller, "{code:?}");
            let passes = matches!(code, Code::IdempotencyInFlight | Code::RequestTimeout);
            assert_eq!(client_error && code.is_retryable(), passes, "{code:?}");
        }
    }
}
