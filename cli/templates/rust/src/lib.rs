//! Routes to handlers.

pub mod domain;
mod events;
mod hear;
mod notes;
mod store;

use towpath_sdk::{Context, Problem, Request, Response};

towpath_sdk::service!(handle);

/// Answers a request.
///
/// # Errors
/// The problem that the client gets instead.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match (request.method(), &*request.segments().each()) {
        ("POST", ["notes"]) => notes::write(&context, &request).await,
        (_, ["notes"]) => Err(Problem::method_not_allowed("POST")),
        ("GET", ["notes", id]) => notes::read(&context, &request, id).await,
        (_, ["notes", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["_relay", _, "events"]) => hear::hear(&context, &request).await,
        _ => Err(Problem::no_such_path()),
    }
}
