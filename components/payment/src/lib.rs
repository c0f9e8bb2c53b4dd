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

use towpath_sdk::{Context, Problem, Request, Response, serve};

towpath_sdk::service!(handle, max_body);

/// The largest webhook: Stripe takes 150,000 characters of evidence in a dispute, and each has up to 12 bytes in JSON.
const MAX_WEBHOOK_BYTES: usize = 2 << 20;

/// How many bytes a client may send to this path.
#[must_use]
pub fn max_body(path: &str) -> usize {
    match path {
        "/v1/providers/stripe/webhooks" => MAX_WEBHOOK_BYTES,
        _ => serve::max_body(path),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_with_all_the_evidence_of_a_dispute_fits_and_nothing_else_is_as_large() {
        // Written as JSON writes what is beyond the first plane: two escapes of six bytes.
        const EVIDENCE: usize = 150_000 * 12;
        assert!(max_body("/v1/providers/stripe/webhooks") > EVIDENCE + serve::MAX_BODY_BYTES);
        for path in ["/v1/orders", "/v1/providers/sandbox/challenges", "/v1/providers/stripe/webhooks/x", "/"] {
            assert_eq!(max_body(path), serve::MAX_BODY_BYTES, "{path}");
        }
    }
}
