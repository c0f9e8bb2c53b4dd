//! `POST /v1/orders/{id}/cancel`: the customer cancels an order before it is shipped.

use serde_json::json;
use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Query, Request, Response, StoredAnswer, Time, UnitOfWork, parse,
    request_hash,
};

use crate::{
    domain::{Cancelling, Said, saga},
    order::Order,
    steps, store,
};

const OPERATION: &str = "order.cancel";

/// The most tries: a try fails if the saga moves the order meanwhile, which it does a few times in an order's life.
const MAX_TRIES: usize = 8;

/// Cancels an order. Cancelling a cancelled one succeeds and changes nothing, so a key is not needed; with one, a repetition
/// gets the first answer, and not the order as it is by then.
///
/// # Errors
/// 404 `unknown_order`; 409 `not_cancellable`.
pub(crate) async fn cancel(context: &Context, request: &Request, id: Id) -> Result<Response, Problem> {
    let key = IdempotencyKey::optional(request)?;
    let reason = reason(request)?;
    let hash = request_hash(&format!("POST /v1/orders/{id}/cancel"), &json!({ "reason": reason }));
    let whose = context.whose(request).await?;
    let relay = context.relay().await?;
    for _ in 0..MAX_TRIES {
        let rows = relay.query(Query::new(store::ORDER, [id.into(), whose.parameter()])).await?;
        let row = rows.first().ok_or_else(steps::unknown)?;
        let (seen, order) = (steps::seen(row)?, Order::read(row)?);
        let key = key.as_ref().map(|key| key.within(OPERATION, Some(order.customer_id())));
        let now = Time::now();
        let (answer, unit) = match (Cancelling::of(seen.status), key) {
            (Cancelling::Cancel, key) => {
                let answer = order.into_cancelled(&reason, now).answer(202);
                let unit = under(key, &hash, &answer);
                (answer, steps::saying(unit, id, &seen, Said::Cancelled { reason: reason.clone() }, now))
            }
            (Cancelling::Already, None) => return Ok(order.answer(202).into_response(false)),
            (Cancelling::Already, key) => {
                let answer = order.answer(202);
                let unit = under(key, &hash, &answer);
                (answer, unit.step(store::SEEN, [id.into()]).expect(1, "there"))
            }
            (Cancelling::NotCancellable, key) => {
                let before = match key {
                    Some(key) => relay.first_answer(key, &hash).await?,
                    None => None,
                };
                let detail = || format!("An order that is {} can't be cancelled.", seen.status);
                let answer = before.ok_or_else(|| Problem::conflict("not_cancellable", detail()))?;
                return Ok(answer.into_response(true));
            }
        };
        match relay.run(unit).await {
            Ok(Outcome::Replayed(first)) => return Ok(StoredAnswer::from_stored(first)?.into_response(true)),
            Ok(_) => return Ok(answer.into_response(false)),
            Err(error) if steps::is_to_see_again(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(steps::contention())
}

/// A unit of work under the client's key, if there is one.
fn under(key: Option<String>, hash: &str, answer: &StoredAnswer) -> UnitOfWork {
    match key {
        Some(key) => UnitOfWork::new().idempotent(key, hash, answer),
        None => UnitOfWork::new(),
    }
}

/// The customer's reason, where there is a body with one.
fn reason(request: &Request) -> Result<String, Problem> {
    let given = if request.body().is_empty() {
        None
    } else {
        request.read_body(|body| body.optional("reason", |value| parse::text(value, 1..=200)))?
    };
    Ok(given.unwrap_or_else(|| saga::BY_CUSTOMER.into()))
}
