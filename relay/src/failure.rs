//! Failures: what the caller gets and what the log gets are two things.
//!
//! The problem document goes to the caller and holds nothing of the relay's inside: no SQL text, no address, no driver's message.
//! The cause goes to the log, under the span of the request.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use towpath_wire::{Code, Problem};

/// `Result` with a [`Failure`].
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a request failed.
pub struct Failure {
    /// What the caller gets.
    pub problem: Box<Problem>,
    /// What only the log gets.
    pub cause: Option<anyhow::Error>,
}

impl Failure {
    /// A failure with this code; `detail` is for the caller.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), cause: None }
    }

    /// Adds the cause, for the log alone.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// A request that can't be read.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, detail)
    }

    /// A limit of the configuration, by its name in `[limits]`.
    #[must_use]
    pub(crate) fn limit(name: &str, limit: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(Code::LimitExceeded, format!("{detail} (limits.{name} = {limit})"))
    }

    /// A server behind the relay that can't be reached.
    #[must_use]
    pub(crate) fn unavailable(what: &str, cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Unavailable, format!("{what} can't be reached")).because(cause)
    }

    /// A fault in the relay.
    #[must_use]
    pub(crate) fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Internal, "The relay failed; its log says why").because(cause)
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.problem.code
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("problem", &self.problem).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.code.as_str(), self.problem.detail)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause:#}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// An error with its causes, for a person: each said once, since many texts have their cause in them already, and Kafka's without
/// the names that they have in this program.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let code = cause.downcast_ref::<KafkaError>().and_then(KafkaError::rdkafka_error_code);
        let said = match code.or_else(|| cause.downcast_ref().copied()) {
            Some(code) => of_kafka(code),
            None => cause.to_string(),
        };
        if text.is_empty() {
            text = said;
        } else if !text.contains(said.trim()) {
            text = format!("{text}: {said}");
        }
    }
    text
}

/// `AllBrokersDown (Local: All broker connections are down)` without its first word.
fn of_kafka(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let inner = text.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(&text);
    inner.trim_start_matches("Local: ").trim_start_matches("Broker: ").to_owned()
}

/// Refuses more than a limit allows.
///
/// # Errors
/// `limit_exceeded`, with the name of the limit.
pub(crate) fn at_most(name: &'static str, limit: usize, count: usize) -> Result<()> {
    if count > limit {
        return Err(Failure::limit(name, limit, format_args!("The request has {count} {}", name.replace('_', " "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_in_words() {
        let error = anyhow::Error::new(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown)).context("Kafka");
        assert_eq!(told(&error), "Kafka: All broker connections are down");
        let twice = anyhow::anyhow!("connection refused").context("beta: connection refused");
        assert_eq!(told(&twice), "beta: connection refused");
    }
}
