//! `GET /v1/inventory/{sku}`.

use towpath_sdk::{Context, Problem, Response};

use crate::{
    catalogue::require_product,
    domain::{self, Stock},
    store,
};

/// The stock of a SKU; no pieces for a product that inventory has not heard of yet.
///
/// # Errors
/// 404 `unknown_sku`; 503 where product does not answer.
pub(crate) async fn one(context: &Context, sku: &str) -> Result<Response, Problem> {
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
