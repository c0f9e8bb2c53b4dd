//! `POST /v1/orders/{id}/payment`: the customer goes on with a payment that waits for them.

use serde_json::json;
use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Query, Request, Response, StoredAnswer, UnitOfWork, parse, prefer,
    request_hash,
};

use crate::{
    domain::{Asks, Decision, Paying, Seen},
    order::Order,
    place, secret, steps, store,
};

const OPERATION: &str = "order.pay";

/// The most tries: a try fails if the saga moves the order meanwhile.
const MAX_TRIES: usize = 8;

/// Takes another payment method, or looks at once what became of the one before, once per key.
///
/// # Errors
/// 404 `unknown_order`; 409 `not_payable` where the order is decided, `payment_under_way` where it asks nothing of the customer.
pub(crate) async fn pay(context: &Context, request: &Request, id: Id) -> Result<Response, Problem> {
    let key = IdempotencyKey::required(request)?;
    let payment_method = match request.body().is_empty() {
        true => None,
        false => request.read_body(|body| body.optional("payment_method", |value| parse::code(value, 1..=128)))?,
    };
    let hash = request_hash(&format!("POST /v1/orders/{id}/payment"), &json!({"payment_method": payment_method}));
    let whose = context.whose(request).await?;
    let relay = context.relay().await?;
    for _ in 0..MAX_TRIES {
        let rows = relay.query(Query::new(store::ORDER, [id.into(), whose.parameter()])).await?;
        let row = rows.first().ok_or_else(steps::unknown)?;
        let (seen, order, owner) =
            (steps::seen(row)?, Order::read(row)?, secret::is_owner(request, &row.get::<String>("idempotency_key")?));
        // A repetition gets the first answer, whatever became of the order since then.
        let order = order.into_resumed();
        let answer = order.answer(202);
        let key = key.within(OPERATION, Some(order.customer_id()));
        let unit = UnitOfWork::new().idempotent(key, &hash, &answer);
        let decision = Decision::Resume { payment_method: payment_method.clone() };
        // Also where it can't be done: a repetition gets its answer, and the guard keeps anything else from happening.
        let asked = Seen { asks: seen.asks.or(Some(Asks::Action)), ..seen };
        let (answer, replayed) = match relay.run(steps::carry_out(unit, id, &asked, &decision, None, None)).await {
            Ok(Outcome::Replayed(first)) => (StoredAnswer::from_stored(first)?, true),
            Ok(_) => (answer, false),
            Err(error) if error.unmet() == Some(steps::MOVED_ON) => match refused(Paying::of(&seen)) {
                Some(problem) => return Err(problem),
                None => continue,
            },
            Err(error) if error.is_outcome_unknown() => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(wait) = prefer::wait(request, place::MAX_WAIT) else { return Ok(answer.into_response(replayed)) };
        let answer = match place::outcome(&relay, id, wait).await {
            Some(order) if owner => secret::shown(context, order).await.outcome_answer(),
            Some(order) => order.outcome_answer(),
            None => answer,
        };
        return Ok(answer.into_response(replayed).header("preference-applied", &format!("wait={}", wait.as_secs())));
    }
    Err(steps::contention())
}

/// Why the customer can't go on, if it is so.
fn refused(paying: Paying) -> Option<Problem> {
    match paying {
        Paying::Resume => None,
        Paying::Decided => {
            Some(Problem::conflict("not_payable", "This order is decided: it takes no payment any more."))
        }
        Paying::UnderWay => Some(Problem::conflict(
            "payment_under_way",
            "The payment of this order is under way, and asks nothing of the customer.",
        )),
    }
}
