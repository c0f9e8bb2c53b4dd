//! `POST /v1/products`.

use towpath_sdk::{Context, Id, Problem, Request, Response, Time};

use crate::{domain::NewProduct, events, representation::show, store};

/// Adds a product to the catalogue.
///
/// # Errors
/// 422 with every invalid field; 409 `sku_taken`.
pub(crate) async fn create(context: &Context, request: &Request) -> Result<Response, Problem> {
    let product = request.read_body(NewProduct::read)?.into_product(Id::new(), Time::now());
    let unit = store::insert(&product).event(events::created(&product)).repeatable();
    context.relay().await?.run(unit).await.map_err(store::problem)?;
    Ok(show(201, &product).header("location", &format!("/v1/products/{}", product.id)))
}
