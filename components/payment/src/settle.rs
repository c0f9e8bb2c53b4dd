//! Brings an order's payment to where it belongs.
//!
//! Each round reads what the rows say, asks the provider for what is next, and records the answer in one unit of work
//! that is guarded by what the rows said. Where the guard isn't met, somebody else was first, and the next round sees
//! what they did. A round may die at any point: the event comes again, and the provider finds what it did under the
//! order's key.

use serde_json::{Value, json};
use towpath_sdk::{Context, Delivery, Id, Outcome, Problem, Query, Relay, RelayError, UnitOfWork};

use crate::{
    domain::{Cancellation, Next, Status},
    events::{self, StockReserved},
    provider::{Charge, Charged, Name, Provider, ProviderError, Refund, sandbox::Sandbox, stripe::Stripe},
    store::{self, Row},
};

/// A payment takes three steps in its life; more rounds than these mean that something is wrong.
const MAX_ROUNDS: usize = 8;

/// The label of every guard.
const MOVED_ON: &str = "moved_on";

/// Hears that an order's stock is reserved: charges, unless the order came to nothing before.
pub(crate) async fn charge(context: &Context, delivery: &Delivery, wanted: &StockReserved) -> Result<(), Problem> {
    let relay = context.relay().await?;
    let order_id = wanted.order_id;
    let provider = provider_of_choice(context).await?;
    // Not under the event's inbox id: this only announces what the provider is about to be asked.
    let begin = UnitOfWork::new()
        .step(store::LOCK, [json!(order_id.to_string())])
        .step(store::BEGIN, begin(wanted, provider))
        .step(store::SEEN, [order_id.into()]);
    let mut row = match relay.run(begin).await {
        Ok(Outcome::Committed(results)) => store::read_payment(results.last())?,
        Ok(_) => look(&relay, order_id).await?,
        Err(error) => return Err(error.into()),
    };
    for _ in 0..MAX_ROUNDS {
        let Some(payment) = row else { return Ok(()) };
        match payment.seen.next() {
            Next::Charge => ask_and_record(context, &relay, delivery, order_id, &payment).await?,
            Next::Refund => give_back(context, &relay, order_id, &payment).await?,
            Next::Nothing => return Ok(()),
        }
        row = look(&relay, order_id).await?;
        if row.is_none() {
            // The provider was asked for a payment that isn't written: nobody may take that for settled.
            return Err(lost());
        }
    }
    Err(contention())
}

/// Hears that an order came to nothing: gives back what was captured, and remembers it for what comes late.
///
/// A pending payment is left to whoever is charging it: they record their answer under the guard that they know of this.
pub(crate) async fn cancel(
    context: &Context,
    delivery: &Delivery,
    order_id: Id,
    reason: Cancellation,
) -> Result<(), Problem> {
    let relay = context.relay().await?;
    let unit = delivery
        .unit()
        .step(store::LOCK, [json!(order_id.to_string())])
        .step(store::CANCEL, [order_id.into(), reason.as_str().into(), delivery.id().into()])
        .step(store::SEND_BACK, [Id::new().into(), order_id.into(), reason.as_str().into()])
        .step(store::SEEN, [order_id.into()]);
    let mut row = match relay.run(unit).await? {
        Outcome::Committed(results) => store::read_payment(results.last())?,
        Outcome::Duplicate | Outcome::Replayed(_) => look(&relay, order_id).await?,
    };
    for _ in 0..MAX_ROUNDS {
        match row {
            Some(payment) if payment.seen.next() == Next::Refund => {
                give_back(context, &relay, order_id, &payment).await?;
            }
            _ => return Ok(()),
        }
        row = look(&relay, order_id).await?;
    }
    Err(contention())
}

/// Asks for the charge and records the answer; whether that was still ours to do is for the next look.
async fn ask_and_record(
    context: &Context,
    relay: &Relay,
    delivery: &Delivery,
    order_id: Id,
    payment: &Row,
) -> Result<(), Problem> {
    let Row { amount, payment_method, since, .. } = payment.clone();
    let charge = Charge { order_id, amount, payment_method, since };
    let charged = match payment.provider {
        Name::Sandbox => Sandbox::new(relay).charge(&charge).await?,
        Name::Stripe => stripe(context).await?.charge(&charge).await?,
    };
    record(relay.run(charged_unit(delivery.unit(), order_id, payment, &charged)).await)
}

async fn give_back(context: &Context, relay: &Relay, order_id: Id, payment: &Row) -> Result<(), Problem> {
    let charge = payment.reference.clone().ok_or_else(|| Problem::internal("a refund of nothing"))?;
    let refund = Refund { order_id, charge, amount: payment.amount };
    let reference = match payment.provider {
        Name::Sandbox => Sandbox::new(relay).refund(&refund).await?,
        Name::Stripe => stripe(context).await?.refund(&refund).await?,
    };
    // The event's inbox id may be taken by the unit of work before this one: here the row alone decides.
    let unit = UnitOfWork::new()
        .step(store::REFUNDED, [payment.id.into(), json!(reference)])
        .expect(1, MOVED_ON)
        .event(events::refunded(order_id, payment));
    record(relay.run(unit).await)
}

/// The unit of work that records what became of a charge.
fn charged_unit(unit: UnitOfWork, order_id: Id, payment: &Row, charged: &Charged) -> UnitOfWork {
    let status = payment.seen.charged(matches!(charged, Charged::Captured { .. }));
    let cancelled = payment.seen.cancelled.map(Cancellation::as_str);
    let (reference, reason) = match charged {
        Charged::Captured { reference } => (Some(reference), cancelled),
        Charged::Declined { reason, reference } => (reference.as_ref(), Some(reason.as_str())),
    };
    let params = [payment.id.into(), status.as_str().into(), json!(reference), json!(reason), json!(cancelled)];
    let unit = unit
        .step(store::LOCK, [json!(order_id.to_string())])
        .step(store::CHARGED, params)
        .expect(1, MOVED_ON)
        .event(events::charged(order_id, payment, charged));
    if status == Status::RefundPending {
        return unit.step(store::OPEN_REFUND, [Id::new().into(), payment.id.into()]).expect(1, "refund");
    }
    unit
}

/// A guard that isn't met is no failure, and neither is an event that was handled before: the next look tells.
fn record(ran: Result<Outcome, RelayError>) -> Result<(), Problem> {
    match ran {
        Err(error) if error.unmet() == Some(MOVED_ON) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

fn begin(wanted: &StockReserved, provider: Name) -> [Value; 7] {
    [
        Id::new().into(),
        wanted.order_id.into(),
        json!(wanted.customer_id),
        wanted.total.amount.into(),
        wanted.total.currency.into(),
        json!(wanted.payment_method),
        provider.as_str().into(),
    ]
}

async fn look(relay: &Relay, order_id: Id) -> Result<Option<Row>, Problem> {
    Ok(store::read_payment(Some(&relay.query(Query::new(store::SEEN, [order_id.into()])).await?))?)
}

/// Whom a new payment asks.
async fn provider_of_choice(context: &Context) -> Result<Name, Problem> {
    let name = context.variable("payment_provider").await?;
    // The configuration is wrong, and not the event: it must not be lost until somebody mends that.
    let unknown = || ProviderError::later(format!("the variable payment_provider is {name:?}: sandbox or stripe"));
    Ok(Name::parse(name.trim()).ok_or_else(unknown)?)
}

async fn stripe(context: &Context) -> Result<Stripe, Problem> {
    let (url, key) = (context.variable("stripe_url").await?, context.variable("stripe_key").await?);
    if key.trim().is_empty() {
        return Err(ProviderError::later("the variable stripe_key is empty").into());
    }
    Ok(Stripe::new(&url, &key))
}

fn contention() -> Problem {
    Problem::unavailable("contention", "Too much is happening to this payment at once.", "the guard was never met")
}

fn lost() -> Problem {
    Problem::unavailable(
        "payment_lost",
        "The payment has to be begun again.",
        "its row went while the provider was asked",
    )
}

#[cfg(test)]
mod tests {
    use towpath_sdk::{Money, Time};

    use super::*;
    use crate::domain::Seen;

    fn payment(cancelled: Option<Cancellation>) -> Row {
        Row {
            id: Id::new(),
            amount: Money::new(300, "EUR".parse().expect("a currency")),
            payment_method: "pm_card_visa".into(),
            provider: Name::Sandbox,
            reference: None,
            since: Time::now(),
            seen: Seen { payment: Some(Status::Pending), cancelled },
        }
    }

    #[test]
    fn a_charge_is_recorded_with_its_event_under_what_was_seen() {
        let (order_id, payment) = (Id::new(), payment(None));
        let captured = Charged::Captured { reference: "ch".into() };
        let unit = charged_unit(UnitOfWork::new(), order_id, &payment, &captured).into_request();
        assert_eq!(unit.steps[0].sql, store::LOCK);
        assert_eq!(unit.steps[1].params, [json!(payment.id), json!("captured"), json!("ch"), Value::Null, Value::Null]);
        assert_eq!((unit.steps.len(), unit.events.len()), (2, 1));
        let declined = Charged::Declined { reason: "lost_card".into(), reference: None };
        let unit = charged_unit(UnitOfWork::new(), order_id, &payment, &declined).into_request();
        assert_eq!(unit.steps[1].params[1..4], [json!("declined"), Value::Null, json!("lost_card")]);
    }

    #[test]
    fn a_charge_for_an_order_that_came_to_nothing_opens_its_refund() {
        let payment = payment(Some(Cancellation::Expired));
        let captured = Charged::Captured { reference: "ch".into() };
        let unit = charged_unit(UnitOfWork::new(), Id::new(), &payment, &captured).into_request();
        let expected = [json!("refund_pending"), json!("ch"), json!("order_expired"), json!("order_expired")];
        assert_eq!(unit.steps[1].params[1..], expected);
        assert_eq!(
            (unit.steps[2].sql.as_str(), unit.events[0].kind.as_str()),
            (store::OPEN_REFUND, "payment.captured")
        );
    }
}
