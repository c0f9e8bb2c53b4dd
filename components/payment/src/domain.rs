//! The rules of a payment: pure, without I/O, so that tests can run them against every sequence of events.
//!
//! ```text
//! (no row) ──▶ pending ──▶ captured ──▶ refund_pending ──▶ refunded
//!                 │  └────────────────────▲
//!                 └──▶ declined
//! ```
//!
//! `pending` is written before the provider is called. So an order without a row was never charged, and needs no refund
//! when it is cancelled. A `pending` payment may have been charged by an attempt that died before it recorded the answer:
//! the next attempt calls the provider again under the same key, even if the order ended meanwhile, and a charge of an
//! ended order is refunded.

use std::fmt;

/// The status of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The provider is about to be called for the charge, or was.
    Pending,
    /// The provider charged it.
    Captured,
    /// The provider declined it.
    Declined,
    /// The provider is about to be called for the refund, or was.
    RefundPending,
    /// The provider refunded it.
    Refunded,
}

use Status::{Captured, Declined, Pending, RefundPending, Refunded};

/// Every legal step.
pub const TRANSITIONS: &[(Status, Status)] = &[
    (Pending, Captured),
    (Pending, Declined),
    // Captured for an order that ended in the meantime.
    (Pending, RefundPending),
    (Captured, RefundPending),
    (RefundPending, Refunded),
];

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Pending, Captured, Declined, RefundPending, Refunded];

    /// Whether the step to `next` is legal.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        TRANSITIONS.contains(&(self, next))
    }

    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Pending => "pending",
            Captured => "captured",
            Declined => "declined",
            RefundPending => "refund_pending",
            Refunded => "refunded",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an order ended, as far as its payment is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancellation {
    /// The customer cancelled it, or the captured amount was not its total.
    Cancelled,
    /// It was not paid in time.
    Expired,
}

impl Cancellation {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "order_cancelled",
            Self::Expired => "order_expired",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancelled, Self::Expired].into_iter().find(|reason| reason.as_str() == text)
    }
}

/// The rows of one order, as far as decisions depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The status of its payment, if there is one.
    pub payment: Option<Status>,
    /// Whether the order ended, and why.
    pub cancelled: Option<Cancellation>,
}

/// The next step of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the provider for the charge. Repeating it is safe: its key is the order's.
    Charge,
    /// Call the provider for the refund. Repeating it is safe.
    Refund,
    /// None: it is settled.
    Nothing,
}

impl Seen {
    /// Whether a payment may begin: there is none, and the order has not ended.
    #[must_use]
    pub fn may_begin(self) -> bool {
        self.payment.is_none() && self.cancelled.is_none()
    }

    /// The next step.
    #[must_use]
    pub fn next(self) -> Next {
        match self.payment {
            Some(Pending) => Next::Charge,
            Some(RefundPending) => Next::Refund,
            None | Some(Captured | Declined | Refunded) => Next::Nothing,
        }
    }

    /// The status of a pending payment after the provider answered.
    #[must_use]
    pub fn charged(self, captured: bool) -> Status {
        match (captured, self.cancelled) {
            (false, _) => Declined,
            (true, None) => Captured,
            (true, Some(_)) => RefundPending,
        }
    }

    /// The new status of a payment when its order ends, if it changes.
    #[must_use]
    pub fn cancel(self) -> Option<Status> {
        (self.payment == Some(Captured)).then_some(RefundPending)
    }
}

#[cfg(test)]
mod tests;
