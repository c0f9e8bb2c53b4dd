//! The rules of a payment: pure, without I/O, so that tests can run them against every sequence of events.
//!
//! ```text
//! (no row) ──▶ pending ──▶ captured ──▶ refund_pending ──▶ refunded
//!                 │ │ └───────────────────▲      │            │
//!                 │ └──▶ declined                ▼            ▼
//!                 ├──▶ cancelled          needs_attention ◀───┘
//!                 └──────────────────────────────▲
//!
//! pending, declined ──▶ requires_action ◀──▶ processing, and from these two to all that follows pending
//! requires_action, declined ──▶ pending: the customer takes another payment method
//! declined ──▶ captured, refund_pending, needs_attention: the customer paid it at the provider
//! needs_attention ──▶ refunded: a person gave the money back
//! ```
//!
//! `pending` is written before the provider is called. The provider's intent is created without charging anybody, and its
//! id is kept, before it is confirmed. So an order that ends before that costs nothing; one that ends later has its intent
//! cancelled, and the provider decides which was first, the charge or the cancellation. docs/payments.md tells it at length.

use std::fmt;

use crate::provider::stripe::{GivenState, Standing};

/// The status of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The provider is about to be called for the charge, or was.
    Pending,
    /// The customer has to authenticate at the provider.
    RequiresAction,
    /// The provider waits for a bank.
    Processing,
    /// The provider charged it.
    Captured,
    /// The provider declined it.
    Declined,
    /// The order ended before the provider charged it, and now it can't be charged any more.
    Cancelled,
    /// The provider is about to be called for the refund, or works on it.
    RefundPending,
    /// The provider refunded it: the money is back.
    Refunded,
    /// The provider did something else than it was asked for, or the refund failed. A person has to look at it.
    NeedsAttention,
}

use Status::{
    Cancelled, Captured, Declined, NeedsAttention, Pending, Processing, RefundPending, Refunded, RequiresAction,
};

/// The reason of a payment that was charged with another amount or currency than was asked.
pub const AMOUNT_MISMATCH: &str = "amount_mismatch";
/// The reason of a payment whose refund failed.
pub const REFUND_FAILED: &str = "refund_failed";
/// The reason of a payment whose intent somebody cancelled at the provider while the order was open: another payment method
/// begins a new one.
pub const CANCELLED_AT_PROVIDER: &str = "payment_cancelled";

/// Every legal step.
pub const TRANSITIONS: &[(Status, Status)] = &[
    (Pending, Captured),
    (Pending, Declined),
    (Pending, Cancelled),
    // Captured for an order that ended in the meantime.
    (Pending, RefundPending),
    (Pending, NeedsAttention),
    (Pending, RequiresAction),
    (Pending, Processing),
    // The customer takes another payment method.
    (RequiresAction, Pending),
    (Declined, Pending),
    (RequiresAction, Processing),
    (RequiresAction, Captured),
    (RequiresAction, Declined),
    (RequiresAction, Cancelled),
    (RequiresAction, RefundPending),
    (RequiresAction, NeedsAttention),
    (Processing, RequiresAction),
    (Processing, Captured),
    (Processing, Declined),
    (Processing, Cancelled),
    (Processing, RefundPending),
    (Processing, NeedsAttention),
    // Who knows the intent's secret can pay it with another card, until it is cancelled.
    (Declined, RequiresAction),
    (Declined, Processing),
    (Declined, Captured),
    (Declined, RefundPending),
    (Declined, NeedsAttention),
    (Captured, RefundPending),
    (RefundPending, Refunded),
    (RefundPending, NeedsAttention),
    // A bank may send a refund back that it has taken.
    (Refunded, NeedsAttention),
];

/// The steps that a person takes where a program can't, as docs/payments.md tells.
pub const BY_A_PERSON: &[(Status, Status)] = &[(NeedsAttention, Refunded)];

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] =
        [Pending, RequiresAction, Processing, Captured, Declined, Cancelled, RefundPending, Refunded, NeedsAttention];

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
            RequiresAction => "requires_action",
            Processing => "processing",
            Captured => "captured",
            Declined => "declined",
            Cancelled => "cancelled",
            RefundPending => "refund_pending",
            Refunded => "refunded",
            NeedsAttention => "needs_attention",
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
    /// It was rejected: its payment was declined, or there is too little stock.
    Rejected,
}

impl Cancellation {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "order_cancelled",
            Self::Expired => "order_expired",
            Self::Rejected => "order_rejected",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancelled, Self::Expired, Self::Rejected].into_iter().find(|reason| reason.as_str() == text)
    }
}

/// The rows of one order, as far as decisions depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The status of its payment, if there is one.
    pub payment: Option<Status>,
    /// Whether the provider's intent is known.
    pub intent: bool,
    /// Whether the intent of a declined payment is cancelled: nothing can pay it any more.
    pub closed: bool,
    /// Whether the provider has taken the refund. What became of it, a later look tells.
    pub refund_taken: bool,
    /// Whether the order ended, and why.
    pub cancelled: Option<Cancellation>,
}

/// The next step of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the provider for an intent. Nobody is charged by it, so repeating it is safe.
    Create,
    /// Call the provider to charge the intent. An intent is charged once at most.
    Confirm,
    /// Record that there is nothing to charge: no intent is known, so none was confirmed.
    Close,
    /// Call the provider to cancel the intent. It answers what was first.
    Cancel,
    /// Call the provider for the refund. Repeating it is safe: a charge is refunded once at most.
    Refund,
    /// None: it is settled, or waits for the provider or the customer.
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
        match (self.payment, self.intent, self.cancelled) {
            (Some(Pending), false, None) => Next::Create,
            (Some(Pending), false, Some(_)) => Next::Close,
            (Some(Pending), true, None) => Next::Confirm,
            (Some(Pending | RequiresAction | Processing), true, Some(_)) => Next::Cancel,
            (Some(Declined), true, Some(_)) if !self.closed => Next::Cancel,
            (Some(RefundPending), ..) if !self.refund_taken => Next::Refund,
            _ => Next::Nothing,
        }
    }

    /// Whether another payment method may be tried.
    #[must_use]
    pub fn may_retry(self) -> bool {
        matches!(self.payment, Some(RequiresAction | Declined)) && self.cancelled.is_none() && !self.closed
    }

    /// Whether the provider may be asked what became of the intent.
    #[must_use]
    pub fn may_ask(self) -> bool {
        matches!(self.payment, Some(RequiresAction | Processing | Declined)) && self.intent && !self.closed
    }

    /// The status of a payment once the provider says what became of its intent, if that changes it.
    #[must_use]
    pub fn stands(self, standing: &Standing) -> Option<Status> {
        let next = match (standing, self.cancelled) {
            (Standing::Unconfirmed, _) => return None,
            (Standing::ActionRequired, _) => RequiresAction,
            (Standing::Processing, _) => Processing,
            (Standing::Captured, None) => Captured,
            (Standing::Captured, Some(_)) => RefundPending,
            (Standing::Differs { .. }, _) => NeedsAttention,
            // It was declined before it was cancelled, and stays so.
            (Standing::Cancelled, Some(_)) if self.payment != Some(Declined) => Cancelled,
            (Standing::Declined(_) | Standing::Cancelled, _) => Declined,
        };
        (self.payment != Some(next)).then_some(next)
    }

    /// Whether an answer closes the intent of a declined payment, whose order has ended. That of an open order may take another.
    #[must_use]
    pub fn closes(self, standing: &Standing) -> bool {
        self.payment == Some(Declined) && self.cancelled.is_some() && *standing == Standing::Cancelled
    }

    /// The new status of a payment when its order ends, if it changes.
    #[must_use]
    pub fn cancel(self) -> Option<Status> {
        (self.payment == Some(Captured)).then_some(RefundPending)
    }
}

/// The status of a payment once the provider says what became of its refund, if that changes it.
#[must_use]
pub fn given_back(status: Status, state: &GivenState) -> Option<Status> {
    let next = match state {
        GivenState::Pending => return None,
        GivenState::Succeeded => Refunded,
        GivenState::Failed { .. } => NeedsAttention,
    };
    status.may_become(next).then_some(next)
}

#[cfg(test)]
mod tests;
