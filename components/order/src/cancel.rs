//! `POST /v1/orders/{id}/cancel`: the customer cancels an order before it is shipped.

use towpath_sdk::{Context, Id, Problem, Query, Request, Response, parse};

use crate::{
    domain::{Cancelling, Said, saga},
    order::Order,
    steps, store,
};

/// The most tries: a try fails if the saga moves the order meanwhile, which it does a few times in an order's life.
const MAX_TRIES: usize = 8;

/// Cancels an order. Cancelling a cancelled one succeeds and changes nothing.
///
/// # Errors
/// 404 `unknown_order`; 409 `not_cancellable`.
pub(crate) async fn cancel(context: &Context, request: &Request, id: Id) -> Result<Response, Problem> {
    let reason = reason(request)?;
    let relay = context.relay().await?;
    for _ in 0..MAX_TRIES {
        let seen = steps::look(&relay, id).await?.ok_or_else(steps::unknown)?;
        let done = match Cancelling::of(seen.status) {
            Cancelling::Already => true,
            Cancelling::Cancel => steps::say(&relay, id, &seen, Said::Cancelled { reason: reason.clone() }).await?,
            Cancelling::NotCancellable => {
                let detail = format!("An order that is {} can't be cancelled.", seen.status);
                return Err(Problem::conflict("not_cancellable", detail));
            }
        };
        if done {
            let rows = relay.query(Query::new(store::ORDER, [id.into()])).await?;
            let order = Order::read(rows.first().ok_or_else(steps::unknown)?)?;
            return Ok(order.answer(202).into_response(false));
        }
    }
    Err(steps::contention())
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
