//! `POST /v1/inventory/{sku}/adjustments`.

use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Relay, Request, Response, StoredAnswer, Time, UnitOfWork,
    request_hash,
};

use crate::{
    catalogue::require_product,
    domain::{self, Adjustment, Movement, Stock},
    store,
};

/// Adjusts the stock of a SKU, once per idempotency key, and writes the movement into the ledger.
///
/// # Errors
/// 422 with every wrong field; 404 `unknown_sku`; 409 where too little stock would be left.
pub(crate) async fn adjust(context: &Context, request: &Request, sku: &str) -> Result<Response, Problem> {
    let sku = domain::sku(sku)?;
    let key = IdempotencyKey::required(request)?;
    let adjustment = request.read_body(Adjustment::read)?;
    let hash = request_hash(&format!("POST /v1/inventory/{sku}/adjustments"), &adjustment);
    let Adjustment { delta, reason } = adjustment;
    let movement = Movement { id: Id::new(), sku, delta, reason, created_at: Time::now() };
    let answer = StoredAnswer::new(201, None, &movement);
    let unit = || UnitOfWork::new().idempotent("inventory.adjust", &key, &hash, &answer);
    let relay = context.relay().await?;
    let outcome = match relay.run(store::adjust(unit(), &movement)).await {
        Err(error) if error.unmet() == Some(store::NOT_ADJUSTED) => {
            make_possible(context, &relay, &movement).await?;
            relay.run(store::adjust(store::create(unit(), &movement.sku), &movement)).await
        }
        outcome => outcome,
    };
    match outcome {
        Ok(Outcome::Replayed(stored)) => Ok(StoredAnswer::from_stored(stored)?.into_response(true)),
        Ok(_) => Ok(answer.into_response(false)),
        Err(error) if error.unmet() == Some(store::NOT_ADJUSTED) => Err(refused(&relay, &movement).await?),
        Err(error) => Err(error.into()),
    }
}

/// Finds out why an adjustment wasn't possible, and whether a second try is worth it: where the stock has changed since,
/// or where inventory hasn't heard of the product yet, which exists.
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

/// Why the second try was refused too.
async fn refused(relay: &Relay, movement: &Movement) -> Result<Problem, Problem> {
    let stock = store::read_stock(&relay.query(store::stock(&movement.sku)).await?)?;
    let moving =
        || Problem::unavailable("contention", "This stock changes too fast.", "an adjustment was refused twice");
    Ok(stock.and_then(|stock| stock.refuses(movement.delta)).unwrap_or_else(moving))
}
