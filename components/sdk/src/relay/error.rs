//! Why a call to the relay failed, and the response that a client gets for it.

use towpath_wire::{Code, Problem as Refusal};

use crate::{Problem, outbound::CallError};

/// Why a call to the relay failed.
#[derive(Clone, Debug, PartialEq)]
pub enum RelayError {
    /// The relay refused the call, with a problem document.
    Refused(Box<Refusal>),
    /// The call did not reach the relay: nothing happened.
    NotReached(String),
    /// The relay's answer was lost: the call may have had its effect.
    Interrupted(String),
    /// The answer, or the request, can't be read: a bug, or another version.
    Malformed(String),
    /// The call met something that is no relay, or a relay that doesn't know the service's token or doesn't let the service
    /// do this: `relay_url`, `relay_token` or relay.toml is wrong. Nothing happened.
    Misconfigured(String),
}

impl RelayError {
    /// The code of the refusal.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// The label of the step whose expectation wasn't met.
    #[must_use]
    pub fn unmet(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) if refusal.code == Code::ExpectationFailed => {
                refusal.step.as_ref()?.label.as_deref()
            }
            _ => None,
        }
    }

    /// The constraint of the schema that was violated.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) if refusal.code == Code::ConstraintViolation => refusal.constraint.as_deref(),
            _ => None,
        }
    }

    /// Whether the unit of work may have committed. Repeating it with the same inbox id or idempotency key finds out.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Interrupted(_)) || self.code() == Some(Code::OutcomeUnknown)
    }

    /// Whether a later try can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code.is_retryable(),
            Self::NotReached(_) | Self::Interrupted(_) => true,
            Self::Malformed(_) | Self::Misconfigured(_) => false,
        }
    }

    /// A read whose answer was lost did nothing: there is no outcome to be unknown.
    pub(crate) fn of_a_read(self) -> Self {
        match self {
            Self::Interrupted(cause) => Self::NotReached(cause),
            other => other,
        }
    }

    pub(crate) fn malformed(error: &serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }

    pub(crate) fn refused(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if matches!(refusal.code, Code::Unauthorized | Code::Forbidden | Code::NotFound) => {
                Self::Misconfigured(format!("the relay answers {}: {}", refusal.code.as_str(), refusal.detail))
            }
            Ok(refusal) => Self::Refused(Box::new(refusal)),
            // A proxy before the relay answered, or a relay that is stopping.
            Err(_) if matches!(status, 502..=504) => Self::Interrupted(format!("status {status} without a reason")),
            Err(error) if status < 500 => {
                Self::Misconfigured(format!("status {status} without a reason, so not of the relay: {error}"))
            }
            Err(error) => Self::Malformed(format!("status {status} without a reason: {error}")),
        }
    }
}

impl From<CallError> for RelayError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(cause) => Self::NotReached(cause),
            CallError::Interrupted(cause) | CallError::TimedOut(cause) => Self::Interrupted(cause),
            CallError::TooLarge => Self::Malformed("the answer is too large".into()),
        }
    }
}

impl std::fmt::Display for RelayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(f, "the relay refused: {}: {}", refusal.code.as_str(), refusal.detail)?;
                if let Some(label) = self.unmet() {
                    write!(f, " [step {label}]")?;
                }
                match &refusal.constraint {
                    Some(constraint) => write!(f, " [constraint {constraint}]"),
                    None => Ok(()),
                }
            }
            Self::NotReached(cause) => write!(f, "the relay can't be reached: {cause}"),
            Self::Interrupted(cause) => write!(f, "the relay's answer was lost: {cause}"),
            Self::Malformed(cause) => write!(f, "the relay's answer or our request is malformed: {cause}"),
            Self::Misconfigured(cause) => write!(f, "the way to the relay is configured wrongly: {cause}"),
        }
    }
}

impl std::error::Error for RelayError {}

/// For the errors that a service does not handle itself.
impl From<RelayError> for Problem {
    fn from(error: RelayError) -> Self {
        let cause = error.to_string();
        match error.code() {
            Some(Code::IdempotencyReused) => crate::idempotency::reused(),
            Some(Code::IdempotencyInFlight) => {
                let detail = "Another request with this Idempotency-Key is still in progress.";
                let mut problem = Self::conflict("idempotency_key_in_flight", detail);
                problem.retry_after_seconds = Some(1);
                problem
            }
            Some(Code::Contention) => {
                let detail = "Other requests are changing the same data at the same time. Try again.";
                Self::unavailable("contention", detail, cause)
            }
            _ if matches!(error, RelayError::Misconfigured(_)) => Self::misconfigured(cause),
            _ if error.is_outcome_unknown() => Self::outcome_unknown(cause),
            _ if error.is_transient() => {
                Self::unavailable("unavailable", "A dependency of this service is not available.", cause)
            }
            _ => Self::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_wire::StepRef;

    use super::*;

    fn refused(code: Code) -> RelayError {
        RelayError::Refused(Box::new(Refusal::new(code, "why")))
    }

    #[test]
    fn every_refusal_becomes_a_problem_that_tells_the_truth() {
        for &code in Code::ALL {
            let problem = Problem::from(refused(code));
            let expected = match code {
                Code::IdempotencyReused => (422, "idempotency_key_reused"),
                Code::IdempotencyInFlight => (409, "idempotency_key_in_flight"),
                Code::OutcomeUnknown => (503, "outcome_unknown"),
                Code::Contention => (503, "contention"),
                code if code.is_retryable() => (503, "unavailable"),
                _ => (500, "internal"),
            };
            assert_eq!((problem.status, problem.code), expected, "{code:?}");
            assert_eq!(problem.retry_after_seconds.is_some(), matches!(problem.status, 503 | 409), "{code:?}");
            assert!(problem.status < 500 || problem.cause.is_some(), "{code:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_no_failure() {
        assert_eq!(Problem::from(RelayError::Interrupted("reset".into())).code, "outcome_unknown");
        assert_eq!(Problem::from(RelayError::NotReached("refused".into())).code, "unavailable");
        assert_eq!(Problem::from(RelayError::Interrupted("reset".into()).of_a_read()).code, "unavailable");
        assert!(RelayError::refused(502, b"<html>").is_outcome_unknown());
        assert_eq!(Problem::from(RelayError::refused(500, b"")).code, "internal");
    }

    /// A wrong token, a wrong address, or a topic that relay.toml doesn't allow: the event that was being handled is right, so
    /// the component must not answer what makes a dead letter of it.
    #[test]
    fn a_wrong_configuration_is_no_failure_of_the_request() {
        let refusal = |code: Code| {
            let refusal = Refusal::new(code, "why");
            (refusal.status, serde_json::to_vec(&refusal).expect("JSON"))
        };
        let of_another = [(404, b"<html>".to_vec()), (401, Vec::new()), (301, Vec::new())];
        let answers = [Code::Unauthorized, Code::Forbidden, Code::NotFound].map(refusal).into_iter().chain(of_another);
        for (status, body) in answers {
            let error = RelayError::refused(status, &body);
            assert!(matches!(error, RelayError::Misconfigured(_)), "{status}: {error:?}");
            assert!(!error.is_outcome_unknown(), "{status}: nothing happened");
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code), (503, "unavailable"), "{status}");
            assert!(problem.retry_after_seconds.is_some() && problem.cause.is_some(), "{status}");
        }
    }

    #[test]
    fn the_step_and_the_constraint_are_named() {
        let mut refusal = Refusal::new(Code::ExpectationFailed, "why");
        refusal.step = Some(StepRef { index: 0, label: Some("insufficient_stock".into()), affected: Some(0) });
        let body = serde_json::to_vec(&refusal).expect("JSON");
        assert_eq!(RelayError::refused(409, &body).unmet(), Some("insufficient_stock"));
        let mut refusal = Refusal::new(Code::ConstraintViolation, "why");
        refusal.constraint = Some("products_sku_key".into());
        let body = serde_json::to_vec(&refusal).expect("JSON");
        let error = RelayError::refused(409, &body);
        assert_eq!((error.constraint(), error.unmet()), (Some("products_sku_key"), None));
    }
}
