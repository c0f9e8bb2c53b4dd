//! `GET` of products, one and many.

use serde_json::json;
use towpath_sdk::{Context, Cursor, Id, Problem, Request, Response, etag::is_not_modified};

use crate::{
    domain::{PageRequest, unknown_product},
    representation::{cacheable, show},
    store,
};

/// `GET /v1/products`: a page of products.
///
/// # Errors
/// 422 with every invalid parameter; 400 `invalid_cursor`.
pub(crate) async fn list(context: &Context, request: &Request) -> Result<Response, Problem> {
    let page = request.read_query(PageRequest::read)?;
    let rows = context.relay().await?.query(store::page(&page)?).await?;
    let mut products = rows.map(store::read)?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = products.len() > limit;
    products.truncate(limit);
    let last = products.last().filter(|_| more);
    let next_cursor = last.map(|product| Cursor::encode(&page.list(), &product.id));
    Ok(Response::json(200, &json!({"data": products, "next_cursor": next_cursor})))
}

/// `GET /v1/products/{id}`. A text that is not an id gets 404, as an unknown id does.
///
/// # Errors
/// 404 `unknown_product`.
pub(crate) async fn one(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let id: Id = id.parse().map_err(|_| unknown_product())?;
    let product = store::read_one(&context.relay().await?.query(store::by_id_cached(id)).await?)?;
    if is_not_modified(request, product.version) {
        return Ok(cacheable(Response::new(304), &product));
    }
    Ok(show(200, &product))
}
