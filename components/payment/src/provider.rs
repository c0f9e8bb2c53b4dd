//! Who moves the money: one small trait, and two who implement it.
//!
//! Both are asked under keys that are derived from the order. So whoever asks again, because the process died between
//! the provider's answer and our record of it, finds what was done the first time.

pub mod sandbox;
pub mod stripe;

use std::{fmt, time::Duration};

use towpath_sdk::{Id, Money, Problem, Time};

/// How long an answer is waited for: less than the relay waits for the answer to its delivery.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(8);

/// A charge to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// What for. The provider's key is derived from it.
    pub order_id: Id,
    /// How much.
    pub amount: Money,
    /// From where: the provider's name for it.
    pub payment_method: String,
    /// When it was asked for first. A provider doesn't keep keys for ever.
    pub since: Time,
}

impl Charge {
    /// The provider's idempotency key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("towpath-charge-{}", self.order_id)
    }
}

/// A charge to give back, all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    /// What it was for.
    pub order_id: Id,
    /// The provider's name for the charge.
    pub charge: String,
    /// How much.
    pub amount: Money,
}

impl Refund {
    /// The provider's idempotency key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("towpath-refund-{}", self.order_id)
    }
}

/// What became of a charge. It is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The money is there.
    Captured {
        /// The provider's name for it.
        reference: String,
    },
    /// It isn't coming.
    Declined {
        /// Such as `card_declined`.
        reason: String,
        /// The provider's name for the attempt, where it gave it one.
        reference: Option<String>,
    },
}

/// Why the provider gave no final answer. What was asked may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderError {
    /// Ask again later, under the same key.
    Later {
        /// For the log.
        cause: String,
        /// When, if the provider said so.
        retry_after_seconds: Option<u32>,
    },
    /// Asking again won't help: somebody has to look.
    Failed {
        /// For the log.
        cause: String,
    },
}

impl ProviderError {
    pub(crate) fn later(cause: impl Into<String>) -> Self {
        Self::Later { cause: cause.into(), retry_after_seconds: None }
    }

    /// An answer that decides nothing. A wrong key of ours (401) is mended by a person, and until then nothing may be
    /// lost.
    pub(crate) fn unanswered(status: u16, retry_after: Option<&str>, cause: String) -> Self {
        match status {
            401 | 403 | 408 | 409 | 425 | 429 | 500.. => {
                Self::Later { cause, retry_after_seconds: retry_after.and_then(|text| text.trim().parse().ok()) }
            }
            _ => Self::Failed { cause },
        }
    }

    pub(crate) fn failed(cause: impl Into<String>) -> Self {
        Self::Failed { cause: cause.into() }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { cause, .. } => write!(f, "the provider can't answer now: {cause}"),
            Self::Failed { cause } => write!(f, "the provider failed: {cause}"),
        }
    }
}

impl std::error::Error for ProviderError {}

/// 503 holds the event back until the provider answers; 500 brings it to the dead letters after some tries.
impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Later { cause, retry_after_seconds } => {
                let mut problem =
                    Self::unavailable("provider_unavailable", "The payment provider can't answer now.", cause);
                problem.retry_after_seconds = retry_after_seconds.or(problem.retry_after_seconds);
                problem
            }
            ProviderError::Failed { cause } => Self::internal(cause),
        }
    }
}

/// Somebody who moves money.
pub trait Provider {
    /// Makes a charge, once per order.
    fn charge(&self, charge: &Charge) -> impl Future<Output = Result<Charged, ProviderError>>;

    /// Gives a charge back, once; the provider's name for the refund.
    fn refund(&self, refund: &Refund) -> impl Future<Output = Result<String, ProviderError>>;
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Decides by Stripe's test names, and needs no network.
    Sandbox,
    /// Stripe's PaymentIntents.
    Stripe,
}

impl Name {
    /// As it stands in the configuration, in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Stripe => "stripe",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sandbox, Self::Stripe].into_iter().find(|name| name.as_str() == text)
    }
}
