//! The payment service: charges what inventory reserved, and gives back what an order that came to nothing has paid.
//!
//! * `domain`: the rules, pure.
//! * `events`: what the service hears and says.
//! * `settle`: how a decision is carried out, guarded by the rows.
//! * `provider`: who moves the money: Stripe, or a sandbox.
//! * `payment`: what clients see.
//! * `store`: all SQL.

pub mod domain;
mod events;
mod payment;
pub mod provider;
mod settle;
pub mod store;

use towpath_sdk::{Context, Problem, Request, Response};

towpath_sdk::service!(handle);

/// Answers one request.
///
/// # Errors
/// Every refusal, as a problem document.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    let segments = request.segments();
    match (request.method(), &*segments.each()) {
        ("GET", ["v1", "payments"]) => payment::of_order(&context, &request).await,
        ("GET", ["v1", "payments", id]) => payment::one(&context, id).await,
        (_, ["v1", "payments"] | ["v1", "payments", _]) => Err(Problem::method_not_allowed("GET")),
        ("POST", ["_relay", "payment", "events"]) => events::hear(&context, &request).await,
        _ => Err(Problem::no_such_path()),
    }
}
