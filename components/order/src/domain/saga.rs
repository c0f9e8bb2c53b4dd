//! What an order does when it hears something.
//!
//! Between topics there is no order, and every event may come twice: each decision looks only at the state in which the
//! order's row stands now. A decision is carried out under the guard that the row still stands there; where it doesn't,
//! it is made again from what the row says now. So the row decides, whoever comes first.

use towpath_sdk::{Id, Money};

use super::Status;

/// Why an order that nobody paid in time came to its end.
pub const PAYMENT_TIMEOUT: &str = "payment_timeout";
/// Why an order was cancelled whose payment isn't of its total: never confirmed, and the payment goes back.
pub const PAYMENT_MISMATCH: &str = "payment_mismatch";
/// Why an order was cancelled where the customer gave no reason.
pub const BY_CUSTOMER: &str = "requested_by_customer";

/// What the order's row says, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub status: Status,
    /// What it costs.
    pub total: Money,
}

/// What an order hears from other services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Inventory holds the stock for it.
    StockReserved,
    /// Inventory hasn't got it.
    StockRejected {
        /// Such as `out_of_stock`.
        reason: String,
    },
    /// Inventory let its stock go again.
    StockReleased,
    /// The money is there.
    PaymentCaptured {
        /// The payment's id.
        payment_id: Id,
        /// How much.
        amount: Money,
    },
    /// The money isn't coming.
    PaymentDeclined {
        /// The payment's id.
        payment_id: Id,
        /// Such as `card_declined`.
        reason: String,
    },
    /// The money went back.
    PaymentRefunded {
        /// The payment's id.
        payment_id: Id,
    },
}

/// What an order says to other services as it takes a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is paid.
    Confirmed {
        /// By this payment.
        payment_id: Id,
    },
    /// It comes to nothing: no stock, or no money.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It comes to nothing: the customer, or a payment that doesn't fit.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// It comes to nothing: nobody paid in time.
    Expired,
}

impl Said {
    /// The status that an order which says this takes.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Confirmed { .. } => Status::Confirmed,
            Self::Rejected { .. } => Status::Rejected,
            Self::Cancelled { .. } => Status::Cancelled,
            Self::Expired => Status::Expired,
        }
    }

    /// Why the order came to nothing.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Confirmed { .. } => None,
            Self::Rejected { reason } | Self::Cancelled { reason } => Some(reason),
            Self::Expired => Some(PAYMENT_TIMEOUT),
        }
    }
}

/// What follows from something heard. In every case it goes into the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The order's stock is reserved: the one step that says nothing to others.
    Reserve,
    /// A step to an outcome, which is said to all.
    Say {
        /// The step.
        said: Said,
        /// The payment that the order knows from now on.
        payment_id: Option<Id>,
    },
    /// The status stays.
    Note {
        /// The payment that the order knows from now on, where it knew none.
        payment_id: Option<Id>,
    },
}

impl Decision {
    /// The status that the order takes, where it takes another.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Reserve => Some(Status::Reserved),
            Self::Say { said, .. } => Some(said.status()),
            Self::Note { .. } => None,
        }
    }
}

impl Seen {
    /// What the order does about what it heard.
    #[must_use]
    pub fn hear(&self, heard: &Heard) -> Decision {
        let open = !self.status.is_decided();
        match heard {
            Heard::StockReserved if self.status == Status::Pending => Decision::Reserve,
            Heard::StockRejected { reason } if self.status == Status::Pending => {
                Decision::Say { said: Said::Rejected { reason: reason.clone() }, payment_id: None }
            }
            Heard::PaymentCaptured { payment_id, amount } if open => {
                let said = if *amount == self.total {
                    Said::Confirmed { payment_id: *payment_id }
                } else {
                    Said::Cancelled { reason: PAYMENT_MISMATCH.into() }
                };
                Decision::Say { said, payment_id: Some(*payment_id) }
            }
            Heard::PaymentDeclined { payment_id, reason } if open => {
                Decision::Say { said: Said::Rejected { reason: reason.clone() }, payment_id: Some(*payment_id) }
            }
            Heard::PaymentCaptured { payment_id, .. }
            | Heard::PaymentDeclined { payment_id, .. }
            | Heard::PaymentRefunded { payment_id } => Decision::Note { payment_id: Some(*payment_id) },
            Heard::StockReserved | Heard::StockRejected { .. } | Heard::StockReleased => {
                Decision::Note { payment_id: None }
            }
        }
    }
}

/// What a customer's wish to cancel comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelling {
    /// It is cancelled now.
    Cancel,
    /// It was cancelled before: nothing more to do, and nothing wrong.
    Already,
    /// Too late, or it came to nothing by itself.
    NotCancellable,
}

impl Cancelling {
    /// For an order that stands here.
    #[must_use]
    pub fn of(status: Status) -> Self {
        match status {
            Status::Cancelled => Self::Already,
            other if other.may_become(Status::Cancelled) => Self::Cancel,
            _ => Self::NotCancellable,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payment(n: u8) -> Id {
        format!("0190a5e4-7b3a-7c5d-8e9f-00000000000{n}").parse().expect("an id")
    }

    fn money() -> impl Strategy<Value = Money> {
        (0..=2i64, prop_oneof![Just("EUR"), Just("USD")])
            .prop_map(|(amount, currency)| Money::new(amount, currency.parse().expect("a currency")))
    }

    fn heard() -> impl Strategy<Value = Heard> {
        let id = || proptest::sample::select(vec![1_u8, 2]).prop_map(payment);
        prop_oneof![
            Just(Heard::StockReserved),
            Just(Heard::StockReleased),
            "[a-z]{1,5}".prop_map(|reason| Heard::StockRejected { reason }),
            (id(), money()).prop_map(|(payment_id, amount)| Heard::PaymentCaptured { payment_id, amount }),
            (id(), "[a-z]{1,5}").prop_map(|(payment_id, reason)| Heard::PaymentDeclined { payment_id, reason }),
            id().prop_map(|payment_id| Heard::PaymentRefunded { payment_id }),
        ]
    }

    fn seen() -> impl Strategy<Value = Seen> {
        (proptest::sample::select(&Status::ALL[..]), money()).prop_map(|(status, total)| Seen { status, total })
    }

    proptest! {
        #[test]
        fn every_step_is_in_the_table(seen in seen(), heard in heard()) {
            if let Some(next) = seen.hear(&heard).status() {
                prop_assert!(seen.status.may_become(next), "{} → {next} on {heard:?}", seen.status);
            }
        }

        #[test]
        fn what_is_decided_stays_whatever_is_heard(seen in seen(), heard in heard()) {
            if seen.status.is_decided() {
                let noted = matches!(seen.hear(&heard), Decision::Note { .. });
                prop_assert!(noted);
            }
        }

        #[test]
        fn confirmed_is_only_what_was_paid_in_full(seen in seen(), heard in heard()) {
            if seen.hear(&heard).status() == Some(Status::Confirmed) {
                let paid = matches!(&heard, Heard::PaymentCaptured { amount, .. } if *amount == seen.total);
                prop_assert!(paid);
            }
        }

        #[test]
        fn hearing_it_again_changes_nothing(seen in seen(), heard in heard()) {
            if let Some(next) = seen.hear(&heard).status() {
                let after = Seen { status: next, ..seen };
                prop_assert_eq!(after.hear(&heard).status(), None);
            }
        }
    }

    #[test]
    fn a_wish_to_cancel_agrees_with_the_table() {
        for status in Status::ALL {
            let cancel = Cancelling::of(status) == Cancelling::Cancel;
            assert_eq!(cancel, status.may_become(Status::Cancelled), "{status}");
        }
        assert_eq!(Cancelling::of(Status::Cancelled), Cancelling::Already);
        assert_eq!(Cancelling::of(Status::Expired), Cancelling::NotCancellable);
    }
}
