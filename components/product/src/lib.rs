//! The product service: the catalogue.

pub mod domain;
pub mod events;
pub mod store;

use serde_json::json;
use towpath_sdk::{
    Context, Cursor, Id, Problem, Request, Response, Time,
    etag::{IfMatch, etag, is_not_modified},
};

use domain::{NewProduct, PageRequest, Patch, Product, unknown_product};

towpath_sdk::service!(handle);

/// Answers a request.
///
/// # Errors
/// The problem that the client gets instead.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match (request.method(), &*request.segments().each()) {
        ("GET", ["v1", "products"]) => list(&context, &request).await,
        ("POST", ["v1", "products"]) => create(&context, &request).await,
        (_, ["v1", "products"]) => Err(Problem::method_not_allowed("GET, POST")),
        ("GET", ["v1", "products", id]) => get(&context, &request, id).await,
        ("PATCH", ["v1", "products", id]) => patch(&context, &request, id).await,
        (_, ["v1", "products", _]) => Err(Problem::method_not_allowed("GET, PATCH")),
        _ => Err(Problem::no_such_path()),
    }
}

async fn create(context: &Context, request: &Request) -> Result<Response, Problem> {
    let product = request.read_body(NewProduct::read)?.into_product(Id::new(), Time::now());
    let unit = store::insert(&product).event(events::created(&product)).repeatable();
    context.relay().await?.run(unit).await.map_err(store::problem)?;
    Ok(show(201, &product).header("location", &format!("/v1/products/{}", product.id)))
}

async fn list(context: &Context, request: &Request) -> Result<Response, Problem> {
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

async fn get(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let id: Id = id.parse().map_err(|_| unknown_product())?;
    let product = store::read_one(&context.relay().await?.query(store::by_id_cached(id)).await?)?;
    if is_not_modified(request, product.version) {
        return Ok(cacheable(Response::new(304), &product));
    }
    Ok(show(200, &product))
}

async fn patch(context: &Context, request: &Request, id: &str) -> Result<Response, Problem> {
    let id: Id = id.parse().map_err(|_| unknown_product())?;
    let demanded = IfMatch::required(request)?;
    let patch = request.read_body(Patch::read)?;
    let relay = context.relay().await?;
    let old = store::read_one(&relay.query(store::by_id(id)).await?)?;
    demanded.check(old.version)?;
    let new = patch.apply(&old, Time::now());
    if new.version != old.version {
        let unit = store::update(old.version, &new).event(events::updated(&new)).repeatable();
        relay.run(unit).await.map_err(store::problem)?;
    }
    Ok(show(200, &new))
}

fn show(status: u16, product: &Product) -> Response {
    cacheable(Response::json(status, product), product)
}

/// May be kept by a client that asks each time whether it is still fresh.
fn cacheable(response: Response, product: &Product) -> Response {
    response.header("etag", &etag(product.version)).header("cache-control", "no-cache")
}
