#![doc = include_str!("../README.md")]

mod adjust;
mod catalogue;
pub mod domain;
pub mod events;
mod hear;
mod read;
pub mod reservation;
pub mod store;

use towpath_sdk::{Context, Problem, Request, Response};

towpath_sdk::service!(handle);

/// Responds to a request.
///
/// # Errors
/// The problem that the client gets.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match (request.method(), &*request.segments().each()) {
        ("GET", ["v1", "inventory", sku]) => read::one(&context, sku).await,
        (_, ["v1", "inventory", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["v1", "inventory", sku, "adjustments"]) => adjust::adjust(&context, &request, sku).await,
        (_, ["v1", "inventory", _, "adjustments"]) => Err(Problem::method_not_allowed("POST")),
        ("POST", ["_relay", "inventory", "events"]) => hear::hear(&context, &request).await,
        (_, ["_relay", "inventory", "events"]) => Err(Problem::method_not_allowed("POST")),
        _ => Err(Problem::no_such_path()),
    }
}
