#![doc = include_str!("../README.md")]

mod change;
mod create;
pub mod domain;
mod events;
mod read;
mod representation;
pub mod store;

use towpath_sdk::{Context, Problem, Request, Response};

towpath_sdk::service!(handle);

/// Responds to a request.
///
/// # Errors
/// The problem that the client gets.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match (request.method(), &*request.segments().each()) {
        ("GET", ["v1", "products"]) => read::list(&context, &request).await,
        ("POST", ["v1", "products"]) => create::create(&context, &request).await,
        (_, ["v1", "products"]) => Err(Problem::method_not_allowed("GET, POST")),
        ("GET", ["v1", "products", id]) => read::one(&context, &request, id).await,
        ("PATCH", ["v1", "products", id]) => change::change(&context, &request, id).await,
        (_, ["v1", "products", _]) => Err(Problem::method_not_allowed("GET, PATCH")),
        _ => Err(Problem::no_such_path()),
    }
}
