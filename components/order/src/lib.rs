#![doc = include_str!("../README.md")]

mod cancel;
mod catalogue;
pub mod domain;
mod events;
mod expire;
mod hear;
mod order;
mod pay;
mod place;
mod read;
mod secret;
mod steps;
pub mod store;

use towpath_sdk::{Context, Id, Problem, Request, Response};

towpath_sdk::service!(handle);

/// Responds to a request.
///
/// # Errors
/// The problem that the client gets.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    let segments = request.segments();
    match (request.method(), &*segments.each()) {
        ("POST", ["v1", "orders"]) => place::place(&context, &request).await,
        ("GET", ["v1", "orders"]) => read::many(&context, &request).await,
        (_, ["v1", "orders"]) => Err(Problem::method_not_allowed("GET, POST")),
        ("GET", ["v1", "orders", id]) => read::one(&context, &request, order_id(id)?).await,
        (_, ["v1", "orders", _]) => Err(Problem::method_not_allowed("GET")),
        ("GET", ["v1", "orders", id, "history"]) => read::history(&context, &request, order_id(id)?).await,
        (_, ["v1", "orders", _, "history"]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["v1", "orders", id, "cancel"]) => cancel::cancel(&context, &request, order_id(id)?).await,
        (_, ["v1", "orders", _, "cancel"]) => Err(Problem::method_not_allowed("POST")),
        ("POST", ["v1", "orders", id, "payment"]) => pay::pay(&context, &request, order_id(id)?).await,
        (_, ["v1", "orders", _, "payment"]) => Err(Problem::method_not_allowed("POST")),
        ("GET", ["_peer", "order", "orders", id]) => read::for_peer(&context, order_id(id)?).await,
        (_, ["_peer", "order", "orders", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["_relay", "order", "events"]) => hear::hear(&context, &request).await,
        ("POST", ["_relay", "order", "timers", "expire-orders"]) => expire::expire(&context, &request).await,
        (_, ["_relay", "order", "events"] | ["_relay", "order", "timers", "expire-orders"]) => {
            Err(Problem::method_not_allowed("POST"))
        }
        _ => Err(Problem::no_such_path()),
    }
}

/// A text that is not an id gets 404, as an unknown id does.
fn order_id(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|_| steps::unknown())
}
