//! `POST /_relay/payment/timers/ask-payments`: asks the provider what became of payments that wait.
//!
//! A customer authenticates at the provider, and a bank may take days. Webhooks make a question due at once; without them it
//! is asked on a schedule. A payment whose order has ended is cancelled, where the provider allows it by now.

use std::cell::Cell;

use serde_json::json;
use towpath_sdk::{Context, Problem, Query, Relay, Request, Response, TimerCall, UnitOfWork};

use super::{
    Next, Step, look,
    record::Record,
    schedule::{WHILE_WAITING, WITHOUT_ANSWER},
    settle,
};
use crate::{
    provider::{Name, client::Provider},
    store::{self, Waiting},
};

/// The most payments that a sweep asks about. The next sweep goes on.
const MAX_BATCH: i64 = 20;

/// Asks about the payments that are due, the longest due first. One that can't be asked about delays no other.
///
/// # Errors
/// 503 where the provider doesn't answer.
pub(crate) async fn ask_payments(context: &Context, request: &Request) -> Result<Response, Problem> {
    TimerCall::receive(context, request).await?;
    let relay = context.relay().await?;
    let due = relay.query(Query::new(store::PAYMENTS_TO_ASK, [json!(MAX_BATCH)])).await?.map(store::read_waiting)?;
    let mut first_error = None;
    for name in [Name::Sandbox, Name::Stripe] {
        let of_name: Vec<_> = due.iter().filter(|waiting| waiting.provider == name).collect();
        if of_name.is_empty() {
            continue;
        }
        let provider = Provider::named(context, &relay, name).await;
        for waiting in of_name {
            if provider.as_ref().is_ok_and(|provider| !provider.has_time()) {
                break;
            }
            let asked = match &provider {
                Ok(provider) => ask(context, &relay, provider, waiting).await,
                Err(problem) => Err(problem.clone()),
            };
            let noted = asked_again(waiting, asked.is_ok()).run(&relay).await;
            if let Err(problem) = asked.and(noted) {
                first_error.get_or_insert(problem);
            }
        }
    }
    first_error.map_or_else(|| Ok(Response::no_content()), Err)
}

async fn ask(context: &Context, relay: &Relay, provider: &Provider<'_>, waiting: &Waiting) -> Result<(), Problem> {
    let Some(row) = look(relay, waiting.order_id).await? else { return Ok(()) };
    if row.seen.next() != Next::Nothing {
        return settle(context, relay, waiting.order_id, Some(row), UnitOfWork::new).await;
    }
    if !row.seen.may_ask() {
        return Ok(());
    }
    let raised = Cell::new(false);
    Step { relay, provider, order_id: waiting.order_id, payment: &row, raised: &raised }.ask().await.map(drop)
}

/// When to ask again, where the payment still is as it was: whatever changed it has set its own time.
fn asked_again(waiting: &Waiting, answered: bool) -> Record {
    let asked = waiting.asked.saturating_add(i32::from(answered));
    let next = WHILE_WAITING.seconds(usize::try_from(asked).unwrap_or_default());
    let seconds = if answered { next } else { Some(WITHOUT_ANSWER) };
    let params = [waiting.id.into(), json!(waiting.due), asked.into(), json!(seconds)];
    Record::of(UnitOfWork::new().step(store::PAYMENT_ASKED, params))
}

#[cfg(test)]
mod tests {
    use towpath_sdk::Id;

    use super::*;

    #[test]
    fn a_question_is_asked_again_under_the_time_that_was_seen() {
        let (id, due) = (Id::new(), "2026-08-01T12:00:00.000001Z");
        let waiting = Waiting { id, order_id: id, provider: Name::Stripe, asked: 1, due: due.into() };
        let params = |answered| asked_again(&waiting, answered).into_request().steps[0].params.clone();
        assert_eq!(params(true), [json!(id), json!(due), json!(2), json!(30)]);
        assert_eq!(params(false), [json!(id), json!(due), json!(1), json!(WITHOUT_ANSWER)]);
    }
}
