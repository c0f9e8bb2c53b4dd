//! `POST /v1/inventory/{sku}/adjustments`.

use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Relay, Request, Response, StoredAnswer, Time, UnitOfWork,
    idempotency, request_hash,
};

use crate::{
    catalogue::require_product,
    domain::{self, Adjustment, Movement, Stock},
    store,
};

/// Adjusts the stock of a SKU, once per idempotency key, and writes the movement into the ledger.
///
/// # Errors
/// 422 with every invalid field; 404 `unknown_sku`; 409 `insufficient_stock`, `stock_limit`.
pub(crate) async fn adjust(context: &Context, request: &Request, sku: &str) -> Result<Response, Problem> {
    let sku = domain::sku(sku)?;
    let key = IdempotencyKey::required(request)?;
    let adjustment = request.read_body(Adjustment::read)?;
    let hash = request_hash(&format!("POST /v1/inventory/{sku}/adjustments"), &adjustment);
    let Adjustment { delta, reason } = adjustment;
    let movement = Movement { id: Id::new(), sku, delta, reason, created_at: Time::now() };
    let wish = Wish { key, hash };
    let answer = answer(&movement);
    let unit = || UnitOfWork::new().idempotent(wish.key.within("inventory.adjust", None), &wish.hash, &answer);
    let adjust = |unit| store::adjust(unit, &movement, wish.key.as_str(), &wish.hash);
    let relay = context.relay().await?;
    let outcome = match relay.run(adjust(unit())).await {
        Err(error) if error.unmet() == Some(store::NOT_ADJUSTED) => {
            // It may be impossible now because it was done before.
            if let Some(first) = first_answer(&relay, &wish).await? {
                return Ok(first.into_response(true));
            }
            make_possible(context, &relay, &movement).await?;
            relay.run(adjust(store::create(unit(), &movement.sku))).await
        }
        outcome => outcome,
    };
    match outcome {
        Ok(Outcome::Replayed(stored)) => Ok(StoredAnswer::from_stored(stored)?.into_response(true)),
        Ok(_) => Ok(answer.into_response(false)),
        // The relay deletes old keys; the ledger keeps them.
        Err(error) if error.constraint() == Some(store::KEY_USED) => {
            let lost = || Problem::internal("a movement has this key, and can't be found by it");
            Ok(first_answer(&relay, &wish).await?.ok_or_else(lost)?.into_response(true))
        }
        Err(error) if error.unmet() == Some(store::NOT_ADJUSTED) => Err(refused(&relay, &movement).await?),
        Err(error) => Err(error.into()),
    }
}

/// A client's request: its idempotency key, and its hash.
struct Wish {
    key: IdempotencyKey,
    hash: String,
}

fn answer(movement: &Movement) -> StoredAnswer {
    StoredAnswer::new(201, None, movement)
}

/// The first response to a key, made from the movement that was recorded with it.
async fn first_answer(relay: &Relay, wish: &Wish) -> Result<Option<StoredAnswer>, Problem> {
    let rows = relay.query(store::movement_by_key(wish.key.as_str())).await?;
    let Some((movement, hash)) = store::read_movement(&rows)? else { return Ok(None) };
    if hash == wish.hash { Ok(Some(answer(&movement))) } else { Err(idempotency::reused()) }
}

/// Finds out why the first try failed. A second one makes sense if the stock has changed since, or if the product exists
/// and inventory has not heard of it yet.
async fn make_possible(context: &Context, relay: &Relay, movement: &Movement) -> Result<(), Problem> {
    let stock = match store::read_stock(&relay.query(store::stock(&movement.sku)).await?)? {
        Some(stock) => stock,
        None => {
            require_product(context, &movement.sku).await?;
            Stock::none(&movement.sku)
        }
    };
    stock.refuses(movement.delta).map_or(Ok(()), Err)
}

/// Why the second try failed too.
async fn refused(relay: &Relay, movement: &Movement) -> Result<Problem, Problem> {
    let stock = store::read_stock(&relay.query(store::stock(&movement.sku)).await?)?;
    let moving = || {
        Problem::unavailable(
            "contention",
            "Other requests changed this stock at the same time. Try again.",
            "the adjustment lost two races",
        )
    };
    Ok(stock.and_then(|stock| stock.refuses(movement.delta)).unwrap_or_else(moving))
}
