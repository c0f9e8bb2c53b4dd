//! Payment providers: a trait, and its two implementations.
//!
//! Both are called under keys that are derived from the order. If payment dies between the provider's answer and the
//! record of it, the next call finds what the first one did.

pub mod sandbox;
pub mod stripe;

use std::{fmt, time::Duration};

use towpath_sdk::{Id, Money, Problem, Time};

/// How long payment waits for the provider: less than the relay waits for the response to its delivery.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(8);

/// A charge to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// The order. The provider's key is derived from it.
    pub order_id: Id,
    /// How much.
    pub amount: Money,
    /// What is charged: the provider's name for it.
    pub payment_method: String,
    /// When it was first requested: providers delete old keys.
    pub since: Time,
}

impl Charge {
    /// The provider's idempotency key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("towpath-charge-{}", self.order_id)
    }
}

/// A charge to refund in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    /// The order.
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

/// The final answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The provider charged it.
    Captured {
        /// The provider's name for it.
        reference: String,
    },
    /// The provider declined it.
    Declined {
        /// Such as `card_declined`.
        reason: String,
        /// The provider's name for the attempt, where it gave it one.
        reference: Option<String>,
    },
}

/// Why the provider gave no final answer. The call may have had its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderError {
    /// A later call under the same key can succeed.
    Later {
        /// For the log.
        cause: String,
        /// When, if the provider said so.
        retry_after_seconds: Option<u32>,
    },
    /// Repeating the call does not help: a person has to look at it.
    Failed {
        /// For the log.
        cause: String,
    },
}

impl ProviderError {
    pub(crate) fn later(cause: impl Into<String>) -> Self {
        Self::Later { cause: cause.into(), retry_after_seconds: None }
    }

    /// An answer that is not final. A wrong API key (401) counts as `Later`: the events wait until it is corrected.
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

/// With 503 the relay delivers the event again until the provider answers; with 500 it becomes a dead letter after some
/// tries.
impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Later { cause, retry_after_seconds } => {
                let mut problem =
                    Self::unavailable("provider_unavailable", "The payment provider is not available.", cause);
                problem.retry_after_seconds = retry_after_seconds.or(problem.retry_after_seconds);
                problem
            }
            ProviderError::Failed { cause } => Self::internal(cause),
        }
    }
}

/// A payment provider.
pub trait Provider {
    /// Makes a charge, once per order.
    fn charge(&self, charge: &Charge) -> impl Future<Output = Result<Charged, ProviderError>>;

    /// Refunds a charge, once; returns the provider's name for the refund.
    fn refund(&self, refund: &Refund) -> impl Future<Output = Result<String, ProviderError>>;
}

/// The name of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Decides by Stripe's test names, and needs no network.
    Sandbox,
    /// Stripe's PaymentIntents.
    Stripe,
}

impl Name {
    /// As in the configuration, in JSON and in the database.
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
