//! What an order does about an event.
//!
//! Events of different topics arrive in any order, and each may arrive twice: a decision depends only on the order's row.
//! It is carried out if the row still is as it was read; otherwise the handler reads the row and decides again. So the row
//! decides, whichever event is first.

use towpath_sdk::{Id, Money};

use super::{OnDecline, Status};

/// The reason of an order that expired.
pub const PAYMENT_TIMEOUT: &str = "payment_timeout";
/// The reason of an order that was cancelled because the captured amount is not its total. The payment is refunded.
pub const PAYMENT_MISMATCH: &str = "payment_mismatch";
/// The reason of an order that the customer cancelled without giving one.
pub const BY_CUSTOMER: &str = "requested_by_customer";

/// The columns of the order's row that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its status.
    pub status: Status,
    /// Its total.
    pub total: Money,
    /// What a declined payment does.
    pub on_decline: OnDecline,
    /// What its payment asks of its customer, if it does.
    pub asks: Option<Asks>,
}

/// What the payment of an open order asks of its customer, in Stripe's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// To authenticate at the provider (3-D Secure).
    Action,
    /// To take another payment method: this one was declined.
    PaymentMethod,
}

impl Asks {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action => "requires_action",
            Self::PaymentMethod => "requires_payment_method",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Action, Self::PaymentMethod].into_iter().find(|asks| asks.as_str() == text)
    }
}

/// An event of another service about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Inventory reserved its stock.
    StockReserved,
    /// Inventory has too little stock.
    StockRejected {
        /// Such as `out_of_stock`.
        reason: String,
    },
    /// Inventory released its stock.
    StockReleased,
    /// The provider charged it.
    PaymentCaptured {
        /// The payment's id.
        payment_id: Id,
        /// The amount.
        amount: Money,
    },
    /// The customer has to authenticate at the provider.
    ActionRequired {
        /// The payment's id.
        payment_id: Id,
    },
    /// The provider declined the charge.
    PaymentDeclined {
        /// The payment's id.
        payment_id: Id,
        /// Such as `card_declined`.
        reason: String,
        /// Whether another payment method may pay: none does where the provider takes no such amount or currency.
        payable: bool,
    },
    /// The provider refunded the charge.
    PaymentRefunded {
        /// The payment's id.
        payment_id: Id,
    },
}

/// The event that an order publishes with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is paid.
    Confirmed {
        /// By this payment.
        payment_id: Id,
    },
    /// It ended: too little stock, or the payment was declined.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It ended: the customer cancelled it, or the captured amount is not its total.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// It ended: it was not paid in time.
    Expired,
}

impl Said {
    /// The status that the order takes with it.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Confirmed { .. } => Status::Confirmed,
            Self::Rejected { .. } => Status::Rejected,
            Self::Cancelled { .. } => Status::Cancelled,
            Self::Expired => Status::Expired,
        }
    }

    /// Why the order ended.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Confirmed { .. } => None,
            Self::Rejected { reason } | Self::Cancelled { reason } => Some(reason),
            Self::Expired => Some(PAYMENT_TIMEOUT),
        }
    }
}

/// What follows from an event. Every event goes into the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The order becomes `reserved`: the one step that publishes no event.
    Reserve,
    /// The order is decided, and publishes an event.
    Say {
        /// The step.
        said: Said,
        /// The payment that the order knows from now on.
        payment_id: Option<Id>,
    },
    /// The status stays, and the order waits for its customer.
    Await {
        /// For what.
        asks: Asks,
        /// The payment that the order knows from now on, where it knew none.
        payment_id: Id,
    },
    /// The status stays, and payment goes on as its customer wants.
    Resume {
        /// The payment method that the customer takes, if it is another one.
        payment_method: Option<String>,
    },
    /// The status stays.
    Note {
        /// The payment that the order knows from now on, where it knew none.
        payment_id: Option<Id>,
    },
}

impl Decision {
    /// The new status, if it changes.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Reserve => Some(Status::Reserved),
            Self::Say { said, .. } => Some(said.status()),
            Self::Await { .. } | Self::Resume { .. } | Self::Note { .. } => None,
        }
    }

    /// What the payment asks of the customer from now on, of an order that was asked for `before`.
    #[must_use]
    pub fn asks(&self, before: Option<Asks>) -> Option<Asks> {
        match self {
            Self::Reserve | Self::Note { .. } => before,
            Self::Await { asks, .. } => Some(*asks),
            // Payment answers in any case, also where a look finds that nothing has changed.
            Self::Say { .. } | Self::Resume { .. } => None,
        }
    }
}

impl Seen {
    /// What the order does about an event.
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
            Heard::ActionRequired { payment_id } if open => {
                Decision::Await { asks: Asks::Action, payment_id: *payment_id }
            }
            Heard::PaymentDeclined { payment_id, payable: true, .. } if open && self.on_decline == OnDecline::Wait => {
                Decision::Await { asks: Asks::PaymentMethod, payment_id: *payment_id }
            }
            Heard::PaymentDeclined { payment_id, reason, .. } if open => {
                Decision::Say { said: Said::Rejected { reason: reason.clone() }, payment_id: Some(*payment_id) }
            }
            Heard::PaymentCaptured { payment_id, .. }
            | Heard::ActionRequired { payment_id }
            | Heard::PaymentDeclined { payment_id, .. }
            | Heard::PaymentRefunded { payment_id } => Decision::Note { payment_id: Some(*payment_id) },
            Heard::StockReserved | Heard::StockRejected { .. } | Heard::StockReleased => {
                Decision::Note { payment_id: None }
            }
        }
    }
}

/// Whether a customer can cancel an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelling {
    /// Yes.
    Cancel,
    /// It is cancelled already: the request succeeds and changes nothing.
    Already,
    /// No: it is shipped, or it ended in another way.
    NotCancellable,
}

impl Cancelling {
    /// For an order with this status.
    #[must_use]
    pub fn of(status: Status) -> Self {
        match status {
            Status::Cancelled => Self::Already,
            other if other.may_become(Status::Cancelled) => Self::Cancel,
            _ => Self::NotCancellable,
        }
    }
}

/// Whether a customer can go on with the payment of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paying {
    /// Yes: it waits for the customer.
    Resume,
    /// No: the order is decided.
    Decided,
    /// No: the payment is under way, and asks nothing of the customer.
    UnderWay,
}

impl Paying {
    /// For an order as it was seen.
    #[must_use]
    pub fn of(seen: &Seen) -> Self {
        match seen.asks {
            _ if seen.status.is_decided() => Self::Decided,
            Some(_) => Self::Resume,
            None => Self::UnderWay,
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
            id().prop_map(|payment_id| Heard::ActionRequired { payment_id }),
            (id(), "[a-z]{1,5}", any::<bool>()).prop_map(|(payment_id, reason, payable)| Heard::PaymentDeclined {
                payment_id,
                reason,
                payable
            }),
            id().prop_map(|payment_id| Heard::PaymentRefunded { payment_id }),
        ]
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let on_decline = proptest::sample::select(vec![OnDecline::Reject, OnDecline::Wait]);
        let asks = proptest::sample::select(vec![None, Some(Asks::Action), Some(Asks::PaymentMethod)]);
        let seen = (proptest::sample::select(&Status::ALL[..]), money(), on_decline, asks);
        seen.prop_map(|(status, total, on_decline, asks)| Seen {
            status,
            total,
            on_decline,
            asks: asks.filter(|_| !status.is_decided()),
        })
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
        fn only_an_open_order_asks_its_customer(seen in seen(), heard in heard()) {
            let decision = seen.hear(&heard);
            let open = !decision.status().unwrap_or(seen.status).is_decided();
            prop_assert!(open || decision.asks(seen.asks).is_none());
            // What its customer can do about it is what it asks for.
            let asks = decision.asks(seen.asks);
            let after = Seen { status: decision.status().unwrap_or(seen.status), asks, ..seen };
            prop_assert_eq!(Paying::of(&after) == Paying::Resume, asks.is_some());
        }

        #[test]
        fn a_decline_ends_an_open_order_unless_it_waits_for_what_can_pay(
            seen in seen(), payment_id in Just(payment(1)), payable in any::<bool>(),
        ) {
            let decision = seen.hear(&Heard::PaymentDeclined { payment_id, reason: "expired_card".into(), payable });
            let open = !seen.status.is_decided();
            let waits = open && payable && seen.on_decline == OnDecline::Wait;
            prop_assert_eq!(decision.status() == Some(Status::Rejected), open && !waits);
            prop_assert_eq!(waits, decision == Decision::Await { asks: Asks::PaymentMethod, payment_id });
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
                let after = Seen { status: next, asks: seen.hear(&heard).asks(seen.asks), ..seen };
                prop_assert_eq!(after.hear(&heard).status(), None);
            }
        }
    }

    #[test]
    fn a_customer_who_goes_on_waits_for_what_payment_answers() {
        for payment_method in [None, Some("pm_card_visa".to_owned())] {
            let resumed = Decision::Resume { payment_method };
            assert_eq!(resumed.asks(Some(Asks::Action)), None, "nobody is told what was so before: {resumed:?}");
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
