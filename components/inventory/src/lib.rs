//! The inventory service: stock, reservations, and the ledger that says why there is what there is.

pub mod domain;
pub mod events;
pub mod store;

use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Relay, Request, Response, StoredAnswer, Time, UnitOfWork, peer,
    request_hash,
};

use domain::{Adjustment, Movement, Stock, unknown_sku};

towpath_sdk::service!(handle);

/// Answers a request.
///
/// # Errors
/// The problem that the client gets instead.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match (request.method(), &*request.segments().each()) {
        ("GET", ["v1", "inventory", sku]) => get(&context, sku).await,
        (_, ["v1", "inventory", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["v1", "inventory", sku, "adjustments"]) => adjust(&context, &request, sku).await,
        (_, ["v1", "inventory", _, "adjustments"]) => Err(Problem::method_not_allowed("POST")),
        ("POST", ["_relay", "inventory", "events"]) => events::hear(&context, &request).await,
        _ => Err(Problem::no_such_path()),
    }
}

async fn get(context: &Context, sku: &str) -> Result<Response, Problem> {
    let sku = domain::sku(sku)?;
    let rows = context.relay().await?.query(store::stock(&sku)).await?;
    let stock = match store::read_stock(&rows)? {
        Some(stock) => stock,
        None => {
            require_product(context, &sku).await?;
            Stock::none(&sku)
        }
    };
    Ok(Response::json(200, &stock))
}

async fn adjust(context: &Context, request: &Request, sku: &str) -> Result<Response, Problem> {
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

/// Asks product, for a SKU that inventory hasn't heard of (yet).
async fn require_product(context: &Context, sku: &str) -> Result<(), Problem> {
    let path = format!("/v1/products?limit=1&sku={}", peer::encode(sku));
    let cause = match context.peer("product").get_json(&path).await {
        Ok((200, page)) => {
            let known = page["data"].as_array().is_some_and(|products| !products.is_empty());
            return if known { Ok(()) } else { Err(unknown_sku()) };
        }
        Ok((status, _)) => format!("product answered {status}"),
        Err(error) => format!("product: {error}"),
    };
    Err(Problem::unavailable("unavailable", "Whether this product exists can't be found out now.", cause))
}
