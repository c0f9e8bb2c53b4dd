//! The payment provider: Stripe, or a sandbox that answers as Stripe does.
//!
//! This file has the words; `client` makes the calls. [`stripe`] says what is asked and what an answer means, for both; the
//! two differ in who answers. [`units`] and [`outcomes`] are the tables behind it;
//! [`webhook`] reads what Stripe says by itself.

pub(crate) mod client;
mod http;
pub mod outcomes;
pub mod sandbox;
pub mod stripe;
pub mod units;
pub mod webhook;

use std::fmt;

use towpath_sdk::{Id, Money, Problem};

use units::Units;

/// A charge to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The order. The provider's keys are derived from it.
    pub order_id: Id,
    /// How much.
    pub money: Money,
    /// The same in the provider's units.
    pub units: Units,
    /// What is charged: the provider's name for it.
    pub payment_method: String,
}

/// A charge to refund in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The order.
    pub order_id: Id,
    /// The provider's name for the charge.
    pub intent: String,
    /// How much.
    pub units: Units,
}

/// An answer of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where it is there.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
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
    /// The provider keeps this answer under the key. A look-up has to show that the call did nothing; then another key can
    /// succeed.
    Spent {
        /// For the log.
        cause: String,
    },
    /// The provider refuses a refund for good: the charge is disputed, or somebody else has given a part of it back.
    Refused {
        /// The provider's word for why.
        code: String,
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

    pub(crate) fn failed(cause: impl Into<String>) -> Self {
        Self::Failed { cause: cause.into() }
    }

    /// The error of a call that has no key: there is nothing to raise, and the same call can succeed later.
    fn without_key(self) -> Self {
        match self {
            Self::Spent { cause } => Self::later(cause),
            other => other,
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { cause, .. } => write!(f, "the provider can't answer now: {cause}"),
            Self::Spent { cause } => write!(f, "the provider failed, and keeps the answer: {cause}"),
            Self::Refused { code } => write!(f, "the provider refuses the refund: {code}"),
            Self::Failed { cause } => write!(f, "the provider failed: {cause}"),
        }
    }
}

impl std::error::Error for ProviderError {}

/// With 503 the relay delivers the event again until the provider answers; with 500 it becomes a dead letter after some
/// tries.
impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        let unavailable = |cause, retry_after_seconds: Option<u32>| {
            let mut problem =
                Self::unavailable("provider_unavailable", "The payment provider is not available.", cause);
            problem.retry_after_seconds = retry_after_seconds.or(problem.retry_after_seconds);
            problem
        };
        match error {
            ProviderError::Later { cause, retry_after_seconds } => unavailable(cause, retry_after_seconds),
            ProviderError::Spent { cause } => unavailable(cause, None),
            ProviderError::Refused { .. } | ProviderError::Failed { .. } => Self::internal(error.to_string()),
        }
    }
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
