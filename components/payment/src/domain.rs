//! The rules of a payment: pure, without I/O, so that they can be tried against every course of events.
//!
//! ```text
//! (no row) ──▶ pending ──▶ captured ──▶ refund_pending ──▶ refunded
//!                 │  └────────────────────▲
//!                 └──▶ declined
//! ```
//!
//! `pending` is written before the provider is asked. So an order without a row was never charged, and a cancellation
//! that finds none is the end of it; while a `pending` one may have been charged by an attempt that died before it
//! recorded the answer. Such a one is asked for again, under the same key, whatever became of the order since: only the
//! provider knows, and a charge that turns out to be unwanted goes back.

use std::fmt;

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The provider is about to be asked, or was.
    Pending,
    /// The money is there.
    Captured,
    /// It isn't coming.
    Declined,
    /// It goes back; the provider is about to be asked, or was.
    RefundPending,
    /// It went back.
    Refunded,
}

use Status::{Captured, Declined, Pending, RefundPending, Refunded};

/// Every legal step. What isn't here can't happen.
pub const TRANSITIONS: &[(Status, Status)] = &[
    (Pending, Captured),
    (Pending, Declined),
    // Captured for an order that came to nothing in the meantime.
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

    /// As it stands in JSON and in the database.
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

/// Why an order came to nothing, as far as its payment is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancellation {
    /// By the customer, or for a payment that didn't fit.
    Cancelled,
    /// Nobody paid in time.
    Expired,
}

impl Cancellation {
    /// As it stands in JSON and in the database.
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

/// What the rows of one order say, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where its payment stands, if there is one.
    pub payment: Option<Status>,
    /// Whether the order came to nothing.
    pub cancelled: Option<Cancellation>,
}

/// What is to be done next about a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The provider is asked to charge. Asking again is safe: its key is the order's.
    Charge,
    /// The provider is asked to give it back. Asking again is safe.
    Refund,
    /// Nothing: it is settled.
    Nothing,
}

impl Seen {
    /// Whether a payment may begin: there is none, and the order didn't come to nothing before.
    #[must_use]
    pub fn may_begin(self) -> bool {
        self.payment.is_none() && self.cancelled.is_none()
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(self) -> Next {
        match self.payment {
            Some(Pending) => Next::Charge,
            Some(RefundPending) => Next::Refund,
            None | Some(Captured | Declined | Refunded) => Next::Nothing,
        }
    }

    /// The status that a pending payment takes when the provider has answered.
    #[must_use]
    pub fn charged(self, captured: bool) -> Status {
        match (captured, self.cancelled) {
            (false, _) => Declined,
            (true, None) => Captured,
            (true, Some(_)) => RefundPending,
        }
    }

    /// The status that a payment takes when its order comes to nothing, where it takes another.
    #[must_use]
    pub fn cancel(self) -> Option<Status> {
        (self.payment == Some(Captured)).then_some(RefundPending)
    }
}

#[cfg(test)]
mod tests;
