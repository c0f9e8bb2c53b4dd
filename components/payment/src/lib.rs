#![doc = include_str!("../README.md")]

mod challenge;
pub mod domain;
mod events;
mod hear;
mod late;
mod person;
pub mod provider;
mod read;
mod secret;
mod settle;
pub mod store;
mod webhooks;

use towpath_sdk::{Context, Problem, Request, Response};

towpath_sdk::service!(handle, towpath_sdk::serve::max_body_with_webhooks);

/// Responds to a request.
///
/// # Errors
/// The problem that the client gets.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    let segments = request.segments();
    match (request.method(), &*segments.each()) {
        ("GET", ["v1", "payments"]) => read::of_order(&context, &request).await,
        ("GET", ["v1", "payments", id]) => read::one(&context, &request, id).await,
        (_, ["v1", "payments"] | ["v1", "payments", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["v1", "providers", "stripe", "webhooks"]) => webhooks::receive(&context, &request).await,
        (_, ["v1", "providers", "stripe", "webhooks"]) => Err(Problem::method_not_allowed("POST")),
        ("POST", ["v1", "providers", "sandbox", "challenges"]) => challenge::complete(&context, &request).await,
        (_, ["v1", "providers", "sandbox", "challenges"]) => Err(Problem::method_not_allowed("POST")),
        ("GET", ["_peer", "payment", "orders", id, "client-secret"]) => secret::of_order(&context, id).await,
        (_, ["_peer", "payment", "orders", _, "client-secret"]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["_relay", "payment", "events"]) => hear::hear(&context, &request).await,
        ("POST", ["_relay", "payment", "timers", "ask-refunds"]) => {
            settle::refunds::ask_refunds(&context, &request).await
        }
        ("POST", ["_relay", "payment", "timers", "ask-payments"]) => {
            settle::waiting::ask_payments(&context, &request).await
        }
        (_, ["_relay", "payment", "events"] | ["_relay", "payment", "timers", "ask-refunds" | "ask-payments"]) => {
            Err(Problem::method_not_allowed("POST"))
        }
        _ => Err(Problem::no_such_path()),
    }
}
