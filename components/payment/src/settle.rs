//! Charges and refunds the payment of an order.
//!
//! Each round reads the rows, calls the provider for what is next, and records the answer in one unit of work, if the rows
//! still are as they were read. Otherwise another handler was first, and the next round reads what it wrote. If a round
//! dies at any point, the relay delivers the event again, and the provider finds the first call under the order's key.

use serde_json::{Value, json};
use towpath_sdk::{Context, Delivery, Id, Outcome, Problem, Query, Relay, RelayError, UnitOfWork};

use crate::{
    domain::{Cancellation, Next, Status},
    events::{self, StockReserved},
    provider::{Charge, Charged, Name, Provider, ProviderError, Refund, sandbox::Sandbox, stripe::Stripe},
    store::{self, Row},
};

/// The most rounds, before the event gets 503. A payment takes three steps in its life.
const MAX_ROUNDS: usize = 8;

/// The label of every guard.
const MOVED_ON: &str = "moved_on";

/// Handles `stock.reserved`: charges, unless the order ended before.
pub(crate) async fn charge(context: &Context, delivery: &Delivery, wanted: &StockReserved) -> Result<(), Problem> {
    let relay = context.relay().await?;
    let order_id = wanted.order_id;
    let provider = provider_of_choice(context).await?;
    // Without the event's inbox id: this only records that the provider is about to be called.
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
            // The provider was called for a payment that has no row: the event must not count as handled.
            return Err(lost());
        }
    }
    Err(contention())
}

/// Handles the end of an order: refunds what was captured, and records the end for a charge that comes later.
///
/// A pending payment is left to the handler that is charging it: its unit of work fails until it has read the end.
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

/// Calls the provider for the charge and records the answer. The next round reads whether it was recorded.
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
    let charge = payment
        .reference
        .clone()
        .ok_or_else(|| Problem::internal("a payment without a provider's reference can't be refunded"))?;
    let refund = Refund { order_id, charge, amount: payment.amount };
    let reference = match payment.provider {
        Name::Sandbox => Sandbox::new(relay).refund(&refund).await?,
        Name::Stripe => stripe(context).await?.refund(&refund).await?,
    };
    // The unit of work before this one may have used the event's inbox id: here the row alone decides.
    let unit = UnitOfWork::new()
        .step(store::REFUNDED, [payment.id.into(), json!(reference)])
        .expect(1, MOVED_ON)
        .event(events::refunded(order_id, payment));
    record(relay.run(unit).await)
}

/// The unit of work that records the answer to a charge.
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

/// The provider of new payments.
async fn provider_of_choice(context: &Context) -> Result<Name, Problem> {
    let name = context.variable("payment_provider").await?;
    // The configuration is wrong, not the event: 503 keeps it until the variable is corrected.
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
    Problem::unavailable(
        "contention",
        "Other events changed this payment at the same time. Try again.",
        "other units of work changed the payment before every try",
    )
}

fn lost() -> Problem {
    Problem::unavailable(
        "payment_lost",
        "The row of this payment disappeared while the provider was asked. Try again.",
        "the row of the payment disappeared while the provider was asked",
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
