//! Charges and refunds the payment of an order.
//!
//! Each round calls the provider for what is next by the rows as they were read, and records the answer in one unit of work,
//! which reads them for the next round, if they still are as they were. Otherwise another handler was first, and the next
//! round reads what it wrote. If a round
//! dies at any point, the relay delivers the event again, and the provider tells what the first call did.

mod record;
pub(crate) mod refunds;
mod schedule;
pub(crate) mod waiting;

use std::cell::Cell;

use serde_json::{Value, json};
use towpath_sdk::{Context, Delivery, Id, Outcome, Problem, Query, Relay, UnitOfWork};

use crate::{
    domain::{CANCELLED_AT_PROVIDER, Cancellation, Next},
    events::{PaymentRequested, StockReserved},
    late,
    provider::{
        Charge, Name, ProviderError, Refund,
        client::Provider,
        outcomes::Decline,
        stripe::{Created, Standing},
        units::Units,
    },
    store::{self, Row},
};
use record::Record;

/// The most rounds, before the event gets 503. A handler takes five steps at most.
const MAX_ROUNDS: usize = 12;

/// Handles `stock.reserved`: charges, unless the order ended before.
pub(crate) async fn charge(context: &Context, delivery: &Delivery, wanted: &StockReserved) -> Result<(), Problem> {
    let order_id = wanted.order_id;
    if late::has_ended(context, delivery, order_id).await? {
        return Ok(());
    }
    let relay = context.relay().await?;
    let provider = provider_of_choice(context).await?;
    // Without the event's inbox id: this only records that the provider is about to be called.
    let begin = UnitOfWork::new()
        .step(store::LOCK, [json!(order_id.to_string())])
        .step(store::BEGIN, begin(wanted, provider))
        .step(store::SEEN, [order_id.into()]);
    let row = match relay.run(begin).await? {
        Outcome::Committed(results) => store::read_payment(results.last())?,
        Outcome::Duplicate | Outcome::Replayed(_) => look(&relay, order_id).await?,
    };
    settle(context, &relay, order_id, row, || delivery.unit()).await
}

/// Handles `order.payment_requested`: tries another payment method, or looks at once what became of the one before.
pub(crate) async fn resume(context: &Context, delivery: &Delivery, wanted: &PaymentRequested) -> Result<(), Problem> {
    let order_id = wanted.order_id;
    if late::has_ended(context, delivery, order_id).await? {
        return Ok(());
    }
    let relay = context.relay().await?;
    // The event's inbox id is used here: a second delivery begins no second attempt. From here on the rows alone decide.
    let unit = delivery.unit().step(store::LOCK, [json!(order_id.to_string())]);
    let unit = match &wanted.payment_method {
        Some(method) => unit.step(store::RETRY, [order_id.into(), json!(method), CANCELLED_AT_PROVIDER.into()]),
        None => unit,
    };
    let row = match relay.run(unit.step(store::SEEN, [order_id.into()])).await? {
        Outcome::Committed(results) => store::read_payment(results.last())?,
        Outcome::Duplicate | Outcome::Replayed(_) => look(&relay, order_id).await?,
    };
    let Some(payment) = row.as_ref().filter(|row| row.seen.next() == Next::Nothing) else {
        return settle(context, &relay, order_id, row, UnitOfWork::new).await;
    };
    if payment.seen.may_ask() {
        let provider = Provider::named(context, &relay, payment.provider).await?;
        let raised = Cell::new(false);
        let step = Step { relay: &relay, provider: &provider, order_id, payment, raised: &raised };
        if step.ask().await? {
            return Ok(());
        }
    }
    // The order waits for an answer. One that took another payment method got it with what became of that.
    match record::stands(order_id, payment).filter(|_| wanted.payment_method.is_none()) {
        Some(stands) => stands.run(&relay).await,
        None => Ok(()),
    }
}

/// Handles the end of an order: cancels what is not charged, refunds what was captured, and records the end, so that
/// nothing is charged later.
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
    let row = match relay.run(unit).await? {
        Outcome::Committed(results) => store::read_payment(results.last())?,
        Outcome::Duplicate | Outcome::Replayed(_) => look(&relay, order_id).await?,
    };
    // The event's inbox id is used: from here on the rows alone decide.
    settle(context, &relay, order_id, row, UnitOfWork::new).await
}

/// Takes the steps of a payment until the provider has nothing left to do. `unit` begins the unit of work that ends the
/// charge.
async fn settle(
    context: &Context,
    relay: &Relay,
    order_id: Id,
    mut row: Option<Row>,
    unit: impl Fn() -> UnitOfWork,
) -> Result<(), Problem> {
    let Some(first) = &row else { return Ok(()) };
    if first.seen.next() == Next::Nothing {
        return Ok(());
    }
    let provider = Provider::named(context, relay, first.provider).await?;
    let raised = Cell::new(false);
    for _ in 0..MAX_ROUNDS {
        // The provider was called for a payment that has no row: the event must not count as handled.
        let payment = row.ok_or_else(lost)?;
        let step = Step { relay, provider: &provider, order_id, payment: &payment, raised: &raised };
        row = match payment.seen.next() {
            Next::Create => step.create(unit()).await?,
            Next::Confirm => step.confirm(unit()).await?,
            Next::Close => step.end(unit(), &Standing::Cancelled).await?,
            Next::Cancel => match step.cancel(unit()).await? {
                Go::On(row) => row,
                Go::Wait => return Ok(()),
            },
            Next::Refund => step.give_back().await?,
            Next::Nothing => return Ok(()),
        };
    }
    Err(contention())
}

/// Whether the next step can be taken now.
enum Go {
    /// From this row.
    On(Option<Row>),
    /// A bank works on it: the timer goes on.
    Wait,
}

/// One step of a payment, from the row as it was read. Each returns the row as it is afterwards.
struct Step<'a> {
    relay: &'a Relay,
    provider: &'a Provider<'a>,
    order_id: Id,
    payment: &'a Row,
    /// Whether this delivery has called under another key already.
    raised: &'a Cell<bool>,
}

impl Step<'_> {
    /// Creates the intent and keeps its id. Nobody is charged, so a lost answer costs an intent that nobody confirms.
    async fn create(&self, unit: UnitOfWork) -> Result<Option<Row>, Problem> {
        let Row { amount, payment_method, attempt, .. } = self.payment;
        let units = match Units::of(*amount) {
            Ok(units) => units,
            Err(unpayable) => {
                let decline = Decline { reason: unpayable.reason().into(), provider_code: None };
                return self.end(unit, &Standing::Declined(decline)).await;
            }
        };
        let (order_id, payment_method) = (self.order_id, payment_method.clone());
        let charge = Charge { order_id, money: *amount, units, payment_method };
        match self.provider.create(charge, *attempt).await {
            Ok(Created::Intent(intent)) => record::created(self.payment, &intent).then_look(self.relay, order_id).await,
            Ok(Created::Declined(decline)) => self.end(unit, &Standing::Declined(decline)).await,
            Ok(Created::Differs { intent, what }) => {
                let payment = Row { reference: Some(intent), ..self.payment.clone() };
                self.end_with(unit, &payment, &Standing::Differs { what }).await
            }
            Err(error @ ProviderError::Spent { .. }) => self.raise(error).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Charges the intent.
    async fn confirm(&self, unit: UnitOfWork) -> Result<Option<Row>, Problem> {
        let (intent, units) = self.intent()?;
        let Row { payment_method, attempt, .. } = self.payment;
        match self.provider.confirm(self.order_id, intent, payment_method, *attempt, &units).await {
            Ok(standing) => self.end(unit, &standing).await,
            Err(error @ ProviderError::Spent { .. }) => match self.provider.look(intent, &units).await? {
                Standing::Unconfirmed => self.raise(error).await,
                // That may be what became of the payment method before this one.
                Standing::ActionRequired | Standing::Declined(_) if self.payment.retries > 0 => self.raise(error).await,
                standing => self.end(unit, &standing).await,
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Cancels the intent; the provider says whether the charge was first.
    async fn cancel(&self, unit: UnitOfWork) -> Result<Go, Problem> {
        let (intent, units) = self.intent()?;
        let standing = self.provider.cancel(intent, &units).await?;
        if self.payment.seen.closes(&standing) {
            return record::closed(self.payment).then_look(self.relay, self.order_id).await.map(Go::On);
        }
        if standing == Standing::Processing {
            if self.payment.seen.stands(&standing).is_some() {
                self.end(unit, &standing).await?;
            }
            return Ok(Go::Wait);
        }
        self.end(unit, &standing).await.map(Go::On)
    }

    /// Asks what became of a payment that waits, and records it; whether that changed it.
    async fn ask(&self) -> Result<bool, Problem> {
        let (intent, units) = self.intent()?;
        let standing = self.provider.look(intent, &units).await?;
        if self.payment.seen.stands(&standing).is_none() {
            return Ok(false);
        }
        self.end(UnitOfWork::new(), &standing).await?;
        Ok(true)
    }

    async fn give_back(&self) -> Result<Option<Row>, Problem> {
        let (intent, units) = self.intent()?;
        let refund = Refund { order_id: self.order_id, intent: intent.into(), units: units.clone() };
        let given = match self.provider.refund(refund, self.payment.refund_attempt).await {
            Err(error @ (ProviderError::Spent { .. } | ProviderError::Refused { .. })) => {
                match (self.provider.find_refund(intent, &units).await?, error) {
                    (Some(given), _) => given,
                    (None, ProviderError::Refused { code }) => {
                        let refused = record::refused(self.order_id, self.payment.id, &code);
                        return refused.then_look(self.relay, self.order_id).await;
                    }
                    (None, error) => return self.raise_refund(error).await,
                }
            }
            other => other?,
        };
        let given = record::given(self.order_id, self.payment.id, self.payment.amount, &given);
        given.then_look(self.relay, self.order_id).await
    }

    /// Records what became of the intent.
    async fn end(&self, unit: UnitOfWork, standing: &Standing) -> Result<Option<Row>, Problem> {
        self.end_with(unit, self.payment, standing).await
    }

    async fn end_with(&self, unit: UnitOfWork, payment: &Row, standing: &Standing) -> Result<Option<Row>, Problem> {
        let Some(status) = self.payment.seen.stands(standing) else {
            return Err(ProviderError::later("the intent is not confirmed").into());
        };
        let seen = self.payment.reference.as_deref();
        let ended = record::ended(unit, self.order_id, payment, seen, status, standing);
        ended.then_look(self.relay, self.order_id).await
    }

    /// The next round calls under another key: once in a delivery, so that a provider that fails again gets a pause.
    async fn raise(&self, error: ProviderError) -> Result<Option<Row>, Problem> {
        self.raise_by(store::RAISE, self.payment.attempt, error).await
    }

    async fn raise_refund(&self, error: ProviderError) -> Result<Option<Row>, Problem> {
        self.raise_by(store::RAISE_REFUND, self.payment.refund_attempt, error).await
    }

    async fn raise_by(&self, sql: &str, attempt: i32, error: ProviderError) -> Result<Option<Row>, Problem> {
        let raise = Record::of(UnitOfWork::new().step(sql, [self.payment.id.into(), attempt.into()]));
        let row = raise.then_look(self.relay, self.order_id).await?;
        if self.raised.replace(true) { Err(error.into()) } else { Ok(row) }
    }

    /// The intent, and what it is about.
    fn intent(&self) -> Result<(&str, Units), Problem> {
        let intent = self.payment.reference.as_deref();
        let intent = intent.ok_or_else(|| Problem::internal("the payment has no intent at the provider"))?;
        let units = Units::of(self.payment.amount);
        let units = units.map_err(|why| Problem::internal(format!("the intent {intent} has {}", why.reason())))?;
        Ok((intent, units))
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

/// The payment of an order, where it has one.
pub(crate) async fn look(relay: &Relay, order_id: Id) -> Result<Option<Row>, Problem> {
    Ok(store::read_payment(Some(&relay.query(Query::new(store::SEEN, [order_id.into()])).await?))?)
}

/// The provider of new payments.
async fn provider_of_choice(context: &Context) -> Result<Name, Problem> {
    let name = context.variable("payment_provider").await?;
    // The configuration is wrong, not the event: 503 keeps it until the variable is corrected.
    let unknown = || ProviderError::later(format!("the variable payment_provider is {name:?}: sandbox or stripe"));
    Ok(Name::parse(name.trim()).ok_or_else(unknown)?)
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
