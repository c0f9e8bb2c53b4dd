//! What must be alike between a payment and its intent. No I/O.

use uuid::Uuid;

use super::record::{Intent, Payment, Refund};
use super::report::{Difference, Kind, Summary};
use super::spill::{Counts, Group};

/// The reference of a refund that a person settled in another way (docs/payments.md).
const BY_HAND: &str = "by hand";

/// An intent that no payment names. Its order may have a payment.
#[derive(Clone, Debug)]
pub(super) struct Unnamed {
    pub(super) order_id: Uuid,
    intent: Intent,
    refunds: Vec<Refund>,
}

/// Compares, and tells what differs.
pub(super) struct Judge<'a> {
    provider: &'static str,
    units: fn(i64, &str) -> Option<i64>,
    now_s: f64,
    grace_s: f64,
    tell: &'a mut (dyn FnMut(Difference) + Send),
    differences: u64,
    in_flight: u64,
    foreign: u64,
}

/// Of what a difference is.
#[derive(Clone, Copy)]
struct About<'a> {
    order_id: Option<Uuid>,
    payment_id: Option<Uuid>,
    reference: &'a str,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        provider: &'static str,
        units: fn(i64, &str) -> Option<i64>,
        now_s: f64,
        grace_s: f64,
        tell: &'a mut (dyn FnMut(Difference) + Send),
    ) -> Self {
        Self { provider, units, now_s, grace_s, tell, differences: 0, in_flight: 0, foreign: 0 }
    }

    pub(super) fn summary(&self, counts: &Counts, payments_without_intent: u64) -> Summary {
        Summary {
            provider: self.provider,
            payments: counts.payments + payments_without_intent,
            payments_without_intent,
            intents: counts.intents,
            refunds: counts.refunds,
            foreign: self.foreign,
            differences: self.differences,
            in_flight: self.in_flight,
        }
    }

    fn differs(&mut self, about: About<'_>, kind: Kind, in_flight: bool, what: impl Into<String>) {
        *(if in_flight { &mut self.in_flight } else { &mut self.differences }) += 1;
        let About { order_id, payment_id, reference } = about;
        let (provider, reference, what) = (self.provider, reference.to_owned(), what.into());
        (self.tell)(Difference { provider, kind, order_id, payment_id, reference, what, in_flight });
    }

    fn is_young(&self, payment: Option<&Payment>, created: Option<f64>) -> bool {
        let ages = payment.map(|payment| payment.age_s).into_iter().chain(created.map(|at| self.now_s - at));
        ages.fold(f64::INFINITY, f64::min) < self.grace_s
    }

    /// Whether payment is going to ask: it asks again and again, and until then it does not know.
    fn will_ask(&self, ask_in_s: Option<f64>) -> bool {
        ask_in_s.is_some_and(|seconds| seconds > -self.grace_s.max(1.0))
    }

    /// All that names one intent. An intent of ours that no payment names comes back: its order may have a payment.
    pub(super) fn group(&mut self, group: Group) -> Option<Unnamed> {
        let Group { mut payments, intent, refunds } = group;
        match (self.whose(&mut payments, intent.as_ref()), intent) {
            (Some(payment), Some(intent)) => self.pair(&payment, &intent, &refunds),
            (Some(payment), None) => self.without_intent(&payment, &refunds),
            (None, Some(intent)) => match intent.order_id {
                Some(order_id) => return Some(Unnamed { order_id, intent, refunds }),
                None => self.foreign += 1 + refunds.len() as u64,
            },
            (None, None) => refunds.iter().for_each(|refund| self.alone(refund)),
        }
        None
    }

    /// The payment of an intent: of several, that of the order which the intent is for. The others can't be right.
    fn whose(&mut self, payments: &mut Vec<Payment>, intent: Option<&Intent>) -> Option<Payment> {
        let order_id = intent.and_then(|intent| intent.order_id);
        let right = payments.iter().position(|payment| Some(payment.order_id) == order_id).unwrap_or_default();
        let payment = (right < payments.len()).then(|| payments.swap_remove(right));
        let reference = intent.map_or("its intent", |intent| &intent.reference);
        for other in payments {
            let about = About { order_id: Some(other.order_id), payment_id: Some(other.id), reference };
            let what = format!("is {} here, by an intent that another payment names too", other.status);
            self.differs(about, Kind::Order, false, what);
        }
        payment
    }

    fn without_intent(&mut self, payment: &Payment, refunds: &[Refund]) {
        let about = About { order_id: Some(payment.order_id), payment_id: Some(payment.id), reference: "its intent" };
        let what = format!("is {} here: {}", payment.status, sum(payment.amount, &payment.currency));
        let in_flight = self.is_young(Some(payment), None);
        self.differs(about, Kind::MissingAtProvider, in_flight, what);
        refunds.iter().for_each(|refund| self.alone(refund));
    }

    /// A refund whose intent was not listed.
    fn alone(&mut self, refund: &Refund) {
        if refund.order_id.is_none() {
            self.foreign += 1;
            return;
        }
        let about = About { order_id: refund.order_id, payment_id: None, reference: &refund.reference };
        let what = format!("gives {} back, of no intent that was listed", sum(refund.amount, &refund.currency));
        let in_flight = self.is_young(None, Some(refund.created));
        self.differs(about, Kind::MissingHere, in_flight, what);
    }

    /// A payment and its intent.
    fn pair(&mut self, payment: &Payment, intent: &Intent, refunds: &[Refund]) {
        let (order_id, payment_id) = (Some(payment.order_id), Some(payment.id));
        let about = About { order_id, payment_id, reference: &intent.reference };
        if let Some(other) = intent.order_id.filter(|other| *other != payment.order_id) {
            self.differs(about, Kind::Order, false, format!("is for the order {other} at the provider"));
        }
        self.is_worth(about, payment.amount, &payment.currency, intent.amount, &intent.currency);
        if intent.is_charged() && intent.received != intent.amount {
            let what = format!("{} of {} were charged", intent.received, sum(intent.amount, &intent.currency));
            self.differs(about, Kind::Amount, false, what);
        }
        if let Some(what) = status_differs(payment, intent) {
            let in_flight = self.will_ask(payment.ask_in_s) || self.is_young(Some(payment), Some(intent.created));
            self.differs(about, Kind::Status, in_flight, what);
        }
        self.refunds(payment, intent, refunds);
    }

    /// Whether an amount of ours is what the provider has.
    fn is_worth(&mut self, about: About<'_>, ours: i64, currency: &str, theirs: i64, their_currency: &str) {
        if !currency.eq_ignore_ascii_case(their_currency) {
            let what = format!("{} here, {} at the provider", sum(ours, currency), sum(theirs, their_currency));
            self.differs(about, Kind::Currency, false, what);
        } else if (self.units)(ours, currency) != Some(theirs) {
            let what = format!("{} here, {theirs} in the provider's units", sum(ours, currency));
            self.differs(about, Kind::Amount, false, what);
        }
    }

    fn refunds(&mut self, payment: &Payment, intent: &Intent, refunds: &[Refund]) {
        let of = |reference| About { order_id: Some(payment.order_id), payment_id: Some(payment.id), reference };
        let live: i64 = refunds.iter().filter(|refund| refund.is_live()).map(|refund| refund.amount).sum();
        if live > intent.received {
            let what = format!("{live} of {} are given back", sum(intent.received, &intent.currency));
            self.differs(of(&intent.reference), Kind::RefundSum, false, what);
        }
        let ours = payment.refund.as_ref();
        let named = ours.and_then(|ours| ours.reference.as_deref());
        if named == Some(BY_HAND) {
            return;
        }
        for refund in refunds.iter().filter(|refund| refund.is_live() && named != Some(&refund.reference)) {
            let in_flight = self.is_young(Some(payment), Some(refund.created));
            let what =
                format!("gives {} back; the payment is {}", sum(refund.amount, &refund.currency), payment.status);
            self.differs(of(&refund.reference), Kind::MissingHere, in_flight, what);
        }
        let (Some(ours), Some(named)) = (ours, named) else {
            if payment.status == "refunded" && live != intent.received {
                let what = format!("{live} of {} are given back", sum(intent.received, &intent.currency));
                self.differs(of(&intent.reference), Kind::RefundSum, false, what);
            }
            return;
        };
        let Some(theirs) = refunds.iter().find(|refund| refund.reference == named) else {
            let in_flight = self.is_young(Some(payment), None);
            let what = format!("is {} here: {}", ours.status, sum(ours.amount, &ours.currency));
            self.differs(of(named), Kind::MissingAtProvider, in_flight, what);
            return;
        };
        self.is_worth(of(named), ours.amount, &ours.currency, theirs.amount, &theirs.currency);
        if ours.status != theirs.outcome() {
            let in_flight = self.will_ask(ours.ask_in_s) || self.is_young(Some(payment), None);
            let what = format!("is {} here, {} at the provider", ours.status, theirs.status);
            self.differs(of(named), Kind::Status, in_flight, what);
        }
        if payment.status == "refunded" && live != intent.received && theirs.is_live() {
            let what = format!("{live} of {} are given back", sum(intent.received, &intent.currency));
            self.differs(of(&intent.reference), Kind::RefundSum, false, what);
        }
    }

    /// An intent that no payment names, beside the payment of its order. Without being charged it is an attempt whose answer
    /// was lost: nobody confirms it.
    pub(super) fn unnamed(&mut self, unnamed: &Unnamed, payment: Option<&Payment>) {
        let Unnamed { order_id, intent, refunds } = unnamed;
        let about = About {
            order_id: Some(*order_id),
            payment_id: payment.map(|payment| payment.id),
            reference: &intent.reference,
        };
        let live: i64 = refunds.iter().filter(|refund| refund.is_live()).map(|refund| refund.amount).sum();
        let in_flight = self.is_young(payment, Some(intent.created));
        let worth = sum(intent.amount, &intent.currency);
        match payment {
            None => self.differs(about, Kind::MissingHere, in_flight, format!("is {}: {worth}", intent.status)),
            // What was charged beside the payment and given back costs nobody anything.
            Some(payment) if intent.is_charged() && live < intent.received => {
                let what = format!("charged {worth}, and the payment, which is {}, does not name it", payment.status);
                self.differs(about, Kind::MissingHere, in_flight, what);
            }
            Some(_) => {}
        }
    }
}

/// An amount with its currency, for a person.
fn sum(amount: i64, currency: &str) -> String {
    format!("{amount} {}", currency.to_ascii_uppercase())
}

/// What a payment's status and its intent's have against each other.
fn status_differs(payment: &Payment, intent: &Intent) -> Option<String> {
    let (ours, theirs) = (payment.status.as_str(), intent.status.as_str());
    let fits = match ours {
        "captured" | "refund_pending" | "refunded" | "needs_attention" => theirs == "succeeded",
        // Somebody could still pay one that is not cancelled.
        "cancelled" => theirs == "canceled",
        "declined" if payment.closed => theirs == "canceled",
        // What the customer or a bank did meanwhile, payment hears when it asks.
        "requires_action" | "processing" => theirs == ours,
        // Declined and pending: not charged.
        _ => theirs != "succeeded",
    };
    (!fits).then(|| format!("is {ours} here, {theirs} at the provider"))
}

#[cfg(test)]
mod tests;
