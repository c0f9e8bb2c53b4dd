//! The states of an order.
//!
//! ```text
//! pending ──▶ reserved ──▶ confirmed ──▶ shipped ──▶ delivered
//!    │           │             │
//!    ├───────────┤             │
//!    ▼           ▼             ▼
//! rejected    expired      cancelled (from pending and reserved too)
//! ```
//!
//! `pending → confirmed` is a step of its own: payment charges only what inventory reserved, but the two publish to
//! different topics, and the event of the payment may arrive first.

use std::fmt;

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Placed; its stock isn't reserved yet.
    Pending,
    /// Its stock is reserved; it isn't paid yet.
    Reserved,
    /// Paid.
    Confirmed,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Out of stock, or the payment was declined.
    Rejected,
    /// Cancelled by the customer before shipping, or because the captured amount is not its total.
    Cancelled,
    /// Not paid in time.
    Expired,
}

use Status::{Cancelled, Confirmed, Delivered, Expired, Pending, Rejected, Reserved, Shipped};

/// Every legal step.
pub const TRANSITIONS: &[(Status, Status)] = &[
    (Pending, Reserved),
    (Pending, Confirmed),
    (Pending, Rejected),
    (Pending, Cancelled),
    (Pending, Expired),
    (Reserved, Confirmed),
    (Reserved, Rejected),
    (Reserved, Cancelled),
    (Reserved, Expired),
    (Confirmed, Shipped),
    (Confirmed, Cancelled),
    (Shipped, Delivered),
];

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [Pending, Reserved, Confirmed, Shipped, Delivered, Rejected, Cancelled, Expired];

    /// Whether the step to `next` is legal.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        TRANSITIONS.contains(&(self, next))
    }

    /// Whether the saga has decided: clients wait for it.
    #[must_use]
    pub fn is_decided(self) -> bool {
        !matches!(self, Pending | Reserved)
    }

    /// Whether a payment of the order's total must have been captured and kept.
    #[must_use]
    pub fn is_paid(self) -> bool {
        matches!(self, Confirmed | Shipped | Delivered)
    }

    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Pending => "pending",
            Reserved => "reserved",
            Confirmed => "confirmed",
            Shipped => "shipped",
            Delivered => "delivered",
            Rejected => "rejected",
            Cancelled => "cancelled",
            Expired => "expired",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back_as_itself() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Pending"), None);
    }

    #[test]
    fn nothing_follows_an_end_and_every_status_reaches_one() {
        let ends = [Delivered, Rejected, Cancelled, Expired];
        for status in Status::ALL {
            let next: Vec<_> = Status::ALL.into_iter().filter(|next| status.may_become(*next)).collect();
            assert_eq!(next.is_empty(), ends.contains(&status), "{status} → {next:?}");
        }
    }

    #[test]
    fn what_is_decided_never_becomes_undecided() {
        for (from, to) in TRANSITIONS {
            assert!(!from.is_decided() || to.is_decided(), "{from} → {to}");
            assert_ne!(from, to);
        }
    }

    #[test]
    fn only_before_shipping_can_an_order_be_cancelled() {
        let cancellable: Vec<_> = Status::ALL.into_iter().filter(|s| s.may_become(Cancelled)).collect();
        assert_eq!(cancellable, [Pending, Reserved, Confirmed]);
    }
}
