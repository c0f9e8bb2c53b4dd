#![doc = include_str!("../README.md")]

pub mod access;
mod callers;
pub mod domain;
mod forward;
mod health;
mod identify;
mod limit;

use towpath_sdk::{Context, Problem, Request, Response, serve};

use domain::Route;

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

/// Responds to a request, or forwards it.
///
/// # Errors
/// The problem that the client gets.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    callers::check(&context, &request).await?;
    match domain::route(&request)? {
        Route::Health => Ok(health::health()),
        Route::Service(service) => forward::forward(&context, &request, service).await,
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
