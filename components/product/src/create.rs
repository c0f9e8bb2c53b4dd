//! `POST /v1/products`.

use towpath_sdk::{
    Context, Id, IdempotencyKey, Outcome, Problem, Relay, Request, Response, StoredAnswer, Time, idempotency,
    request_hash,
};

use crate::{
    domain::{NewProduct, sku_taken},
    events,
    representation::shown,
    store::{self, Wish},
};

const OPERATION: &str = "product.create";

/// Adds a product to the catalogue; with an idempotency key, once per key.
///
/// # Errors
/// 422 with every invalid field; 409 `sku_taken`.
pub(crate) async fn create(context: &Context, request: &Request) -> Result<Response, Problem> {
    let key = IdempotencyKey::optional(request)?;
    let new = request.read_body(NewProduct::read)?;
    let hash = request_hash("POST /v1/products", &new);
    let product = new.into_product(Id::new(), Time::now());
    let location = format!("/v1/products/{}", product.id);
    let answer = StoredAnswer { location: Some(location), ..shown(201, &product) };
    let wish = key.map(|key| Wish { key, hash, answer: answer.clone() });
    let unit = store::insert(&product, wish.as_ref()).event(events::created(&product));
    let relay = context.relay().await?;
    match relay.run(store::under(unit, OPERATION, wish.as_ref())).await {
        // Without a client's key, the unit has one of its own, and what is replayed is this very request.
        Ok(Outcome::Replayed(first)) if wish.is_some() => Ok(StoredAnswer::from_stored(first)?.into_response(true)),
        Ok(_) => Ok(answer.into_response(false)),
        // The relay deletes old keys; the catalogue keeps them.
        Err(error) if store::is_taken(&error) => match wish {
            Some(wish) => Ok(first_answer(&relay, &wish).await?.ok_or_else(sku_taken)?.into_response(true)),
            None => Err(sku_taken()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The first response to a key, as it stands beside the product that was created with it.
async fn first_answer(relay: &Relay, wish: &Wish) -> Result<Option<StoredAnswer>, Problem> {
    let rows = relay.query(store::created_with(&wish.key)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if row.get::<String>("request_hash")? != wish.hash {
        return Err(idempotency::reused());
    }
    StoredAnswer::from_stored(row.get("first_answer")?).map(Some)
}
