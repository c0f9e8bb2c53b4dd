//! What a comparison found.

use serde::Serialize;
use uuid::Uuid;

/// One thing that payment and provider don't say alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// With whom.
    pub provider: &'static str,
    /// What differs.
    pub kind: Kind,
    /// The order, where it is known.
    pub order_id: Option<Uuid>,
    /// The payment, where there is one.
    pub payment_id: Option<Uuid>,
    /// The provider's name for the intent or the refund.
    pub reference: String,
    /// What each side says.
    pub what: String,
    /// Whether it may be settled by itself: it is young, or payment is about to ask.
    pub in_flight: bool,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The provider doesn't have what payment names.
    MissingAtProvider,
    /// Payment doesn't know what the provider has.
    MissingHere,
    /// Another amount.
    Amount,
    /// Another currency.
    Currency,
    /// Another status.
    Status,
    /// The refunds of a charge don't come to what they should.
    RefundSum,
    /// Another order.
    Order,
}

/// How much was compared with one provider, and how much differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// With whom.
    pub provider: &'static str,
    /// Payments here.
    pub payments: u64,
    /// Of these, those that never had an intent: there is nothing to compare.
    pub payments_without_intent: u64,
    /// Intents that the provider listed.
    pub intents: u64,
    /// Refunds that the provider listed.
    pub refunds: u64,
    /// Intents and refunds of the provider that are not of this application: they name no order, and no payment names them.
    pub foreign: u64,
    /// Differences, without those in flight.
    pub differences: u64,
    /// Differences in flight.
    pub in_flight: u64,
}

impl Kind {
    /// As a person reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingAtProvider => "missing at the provider",
            Self::MissingHere => "missing here",
            Self::Amount => "amount",
            Self::Currency => "currency",
            Self::Status => "status",
            Self::RefundSum => "refund sum",
            Self::Order => "order",
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.in_flight { "in flight" } else { "DIFFERS" };
        write!(f, "{mark}  {} {} ({})", self.provider, self.reference, self.kind.as_str())?;
        if let Some(order) = self.order_id {
            write!(f, ", order {order}")?;
        }
        if let Some(payment) = self.payment_id {
            write!(f, ", payment {payment}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, payments, payments_without_intent, intents, refunds, foreign, differences, in_flight } =
            self;
        let verdict = match differences {
            0 => String::from("ok"),
            n => format!("{n} DIFFERENCES"),
        };
        write!(
            f,
            "{provider}: {payments} payments ({payments_without_intent} without an intent) beside {intents} intents and \
             {refunds} refunds: {verdict}"
        )?;
        if *in_flight > 0 {
            write!(f, ", {in_flight} in flight")?;
        }
        if *foreign > 0 {
            write!(f, "; {foreign} of the provider's are not of this application")?;
        }
        Ok(())
    }
}
