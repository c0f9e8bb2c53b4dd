//! `POST /v1/orders`: places an order. This needs the order database alone.

use std::time::Duration;

use serde_json::{Value, json};
use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Query, Relay, RelayError, Request, Response, StoredAnswer, Time,
    UnitOfWork, idempotency, log, prefer, request_hash,
};

use crate::{
    catalogue,
    domain::{Draft, Priced, Refusal},
    events,
    order::Order,
    secret, steps, store,
};

const OPERATION: &str = "order.place";

/// The longest wait for the outcome that a client may ask for.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// A client's request: its idempotency key, whose key it is, and its hash.
struct Wish {
    key: IdempotencyKey,
    customer_id: String,
    hash: String,
}

/// Places an order, once per key.
///
/// # Errors
/// 422 with every invalid field or line; 403 `foreign_customer`; 409 `price_changed`; 503 where the order can't be placed now.
pub(crate) async fn place(context: &Context, request: &Request) -> Result<Response, Problem> {
    let key = IdempotencyKey::required(request)?;
    let draft = request.read_body(Draft::read)?;
    context.whose(request).await?.check(&draft.customer_id)?;
    let hash = request_hash("POST /v1/orders", &draft);
    let wish = Wish { key, customer_id: draft.customer_id.clone(), hash };
    let relay = context.relay().await?;
    let (answer, replayed) = match take_as_remembered(&relay, &wish, &draft).await? {
        Some(taken) => taken,
        None => take_after_a_look(context, &relay, &wish, draft).await?,
    };
    let Some(wait) = prefer::wait(request, MAX_WAIT) else { return Ok(answer.into_response(replayed)) };
    let answer = match decided(&relay, &answer.body, wait).await {
        // Whoever knows the key placed the order: it is theirs.
        Some(order) => secret::shown(context, order).await.outcome_answer(),
        None => answer,
    };
    Ok(answer.into_response(replayed).header("preference-applied", &format!("wait={}", wait.as_secs())))
}

/// The answer, and whether it is the first one to this key again.
type Taken = (StoredAnswer, bool);

/// Places the order at the prices that this instance remembers, if they still are order's: without a look before. `None` where
/// a look has to tell.
async fn take_as_remembered(relay: &Relay, wish: &Wish, draft: &Draft) -> Result<Option<Taken>, Problem> {
    let Some(prices) = catalogue::remembered(draft) else { return Ok(None) };
    // What is refused at old prices may be possible at those of now.
    let Ok(priced) = draft.clone().price(&prices) else { return Ok(None) };
    let (unit, answer) = placing(catalogue::still(&priced), wish, &priced);
    match relay.run(unit).await {
        Err(error) if error.unmet() == Some(store::OTHER_PRICES) => Ok(None),
        done => taken(relay, wish, answer, done).await.map(Some),
    }
}

async fn take_after_a_look(context: &Context, relay: &Relay, wish: &Wish, draft: Draft) -> Result<Taken, Problem> {
    let prices = catalogue::prices(context, relay, &draft).await;
    match prices.and_then(|prices| draft.price(&prices).map_err(refused)) {
        Ok(priced) => {
            let (unit, answer) = placing(UnitOfWork::new(), wish, &priced);
            taken(relay, wish, answer, relay.run(unit).await).await
        }
        // An order under this key may have been placed when it still was possible: a repetition gets that one.
        Err(problem) => Ok((first_answer(relay, wish).await?.ok_or(problem)?, true)),
    }
}

/// The unit of work that places the order, begun by `unit`, and its answer. The relay finds out whether the key was used before.
fn placing(unit: UnitOfWork, wish: &Wish, priced: &Priced) -> (UnitOfWork, StoredAnswer) {
    let (id, now) = (Id::new(), Time::now());
    let answer = Order::placed(id, priced, now).answer(202);
    let key = wish.key.within(OPERATION, Some(&wish.customer_id));
    (place_in(unit, id, now, wish, priced).idempotent(key, &wish.hash, &answer), answer)
}

/// What a client gets, by what became of the unit of work.
async fn taken(
    relay: &Relay,
    wish: &Wish,
    answer: StoredAnswer,
    done: Result<Outcome, RelayError>,
) -> Result<Taken, Problem> {
    match done {
        Ok(Outcome::Replayed(stored)) => Ok((StoredAnswer::from_stored(stored)?, true)),
        Ok(Outcome::Committed(_) | Outcome::Duplicate) => Ok((answer, false)),
        // The relay deletes old keys; the table of orders keeps them.
        Err(error) if error.constraint() == Some(store::KEY_USED) => {
            let lost = || Problem::internal("an order has this key, and can't be found by it");
            Ok((first_answer(relay, wish).await?.ok_or_else(lost)?, true))
        }
        Err(error) => Err(error.into()),
    }
}

fn place_in(unit: UnitOfWork, id: Id, now: Time, wish: &Wish, priced: &Priced) -> UnitOfWork {
    let event_id = Id::new();
    let event = events::placed(id, event_id, priced);
    let column = |of: fn(&crate::domain::Line) -> Value| priced.lines.iter().map(of).collect::<Value>();
    let params = [
        id.into(),
        json!(priced.customer_id),
        priced.total.currency.into(),
        priced.total.amount.into(),
        json!(priced.payment_method),
        wish.key.as_str().into(),
        json!(wish.hash),
        now.into(),
        column(|line| json!(line.sku)),
        column(|line| json!(line.quantity)),
        column(|line| json!(line.unit_price)),
        event_id.to_string().into(),
        json!({"total": priced.total, "payment_method": priced.payment_method}),
        json!(priced.on_decline.as_str()),
    ];
    unit.step(store::PLACE, params).expect(1, "placed").event(event)
}

/// The first response to a key, made from the order that was placed with it.
async fn first_answer(relay: &Relay, wish: &Wish) -> Result<Option<StoredAnswer>, Problem> {
    let params = [wish.key.as_str().into(), json!(wish.customer_id)];
    let rows = relay.query(Query::new(store::ORDER_BY_KEY, params)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if row.get::<String>("request_hash")? != wish.hash {
        return Err(idempotency::reused());
    }
    Ok(Some(Order::read(row)?.into_placed().answer(202)))
}

/// Waits for the outcome of the order in this response. `None` if there is none in time, or if the relay fails: the order
/// is placed in any case.
async fn decided(relay: &Relay, placed: &Value, wait: Duration) -> Option<Order> {
    outcome(relay, placed["id"].as_str()?.parse().ok()?, wait).await
}

/// Waits until an order is decided, or waits for its customer.
pub(crate) async fn outcome(relay: &Relay, id: Id, wait: Duration) -> Option<Order> {
    let query = Query::new(store::DECIDED, [id.into()]).wait([steps::outcome_key(id)], wait);
    let rows = relay.query(query).await.inspect_err(|error| log_lost_wait(id, error)).ok()?;
    Order::read(rows.first()?).ok()
}

fn log_lost_wait(id: Id, error: &RelayError) {
    log(
        &json!({"level": "warn", "order_id": id, "message": "waiting for the outcome failed: the client gets the order as it was placed", "cause": error.to_string()}),
    );
}

fn refused(refusal: Refusal) -> Problem {
    let detail = match refusal.code {
        "unknown_sku" => "There is no product with the SKU of some lines.",
        "product_inactive" => "The products of some lines are not active.",
        "mixed_currencies" => "All lines of an order must have the same currency.",
        "price_changed" => "The order costs something else than expected_total: total is what it costs now.",
        _ => "The total of the order is too large.",
    };
    let mut problem = match refusal.total {
        // The request is right, and was so when the customer saw the prices.
        Some(total) => Problem::conflict(refusal.code, detail).with("total", json!(total)),
        None => Problem::unprocessable(refusal.code, detail),
    };
    problem.errors = refusal.errors;
    problem
}

#[cfg(test)]
mod tests {
    use towpath_sdk::{FieldError, Money};

    use super::*;

    #[test]
    fn a_refusal_names_every_line_that_is_in_the_way() {
        for code in ["unknown_sku", "product_inactive", "mixed_currencies", "total_too_large"] {
            let error = FieldError { field: "lines[1].sku".into(), code, detail: "why".into() };
            let problem = refused(Refusal { code, total: None, errors: vec![error] });
            assert_eq!((problem.status, problem.code), (422, code));
            let document: Value = serde_json::from_slice(problem.into_response().body()).expect("a document");
            assert_eq!(document["errors"], json!([{"field": "lines[1].sku", "code": code, "detail": "why"}]));
        }
    }

    #[test]
    fn another_price_is_a_conflict_and_tells_the_new_total() {
        let total = Money::new(300, "EUR".parse().expect("a currency"));
        let problem = refused(Refusal { code: "price_changed", total: Some(total), errors: vec![] });
        assert_eq!((problem.status, problem.code), (409, "price_changed"));
        assert_eq!(problem.retry_after_seconds, None, "the same request fails again");
        let document: Value = serde_json::from_slice(problem.into_response().body()).expect("a document");
        assert_eq!(document["total"], json!({"amount": 300, "currency": "EUR"}));
    }

    #[test]
    fn an_order_is_placed_in_one_step_with_one_event() {
        let line = |sku: &str| crate::domain::Line { sku: sku.into(), quantity: 2, unit_price: 150, total: 300 };
        let priced = Priced {
            customer_id: "c".into(),
            payment_method: "pm".into(),
            lines: vec![line("A"), line("A")],
            total: towpath_sdk::Money::new(600, "EUR".parse().expect("a currency")),
            on_decline: crate::domain::OnDecline::Wait,
        };
        let mut headers = http::HeaderMap::new();
        headers.insert("idempotency-key", http::HeaderValue::from_static("key"));
        let request = Request::new(http::Method::POST, "/v1/orders", headers, "");
        let key = IdempotencyKey::required(&request).expect("a key");
        let wish = Wish { key, customer_id: "c".into(), hash: "hash".into() };
        let id = Id::new();
        let unit = place_in(UnitOfWork::new(), id, Time::now(), &wish, &priced).into_request();
        let params = &unit.steps[0].params;
        assert_eq!(params[8..11], [json!(["A", "A"]), json!([2, 2]), json!([150, 150])]);
        let [event] = unit.events.as_slice() else { panic!("one event") };
        assert_eq!((event.kind.as_str(), &event.key), ("order.placed", &id.to_string()));
        assert_eq!(event.id.as_ref().map(|id| json!(id)), Some(params[11].clone()), "the history names the event");
        assert_eq!(event.data["lines"][0]["unit_price"], json!({"amount": 150, "currency": "EUR"}));
    }
}
