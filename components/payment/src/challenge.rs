//! `POST /v1/providers/sandbox/challenges`: a customer of the sandbox authenticates, as with a bank's own page.

use serde_json::json;
use towpath_sdk::{Context, Problem, Request, Response, UnitOfWork, parse};

use crate::{
    provider::{
        Name,
        sandbox::{Sandbox, rules::Outcome},
    },
    store,
};

/// Ends the challenge of the intent with this secret, and makes payment ask what became of it, as Stripe's webhook would.
///
/// # Errors
/// 404 `sandbox_only` where the sandbox is not the provider, `unknown_client_secret`; 409 `no_challenge`.
pub(crate) async fn complete(context: &Context, request: &Request) -> Result<Response, Problem> {
    if Name::parse(context.variable("payment_provider").await?.trim()) != Some(Name::Sandbox) {
        return Err(Problem::not_found("sandbox_only", "The payment provider is not the sandbox."));
    }
    let (secret, outcome) = request.read_body(|body| {
        let secret = body.required("client_secret", |value| parse::code(value, 1..=200));
        let outcome = body.required("outcome", |value| parse::one_of(value, &["succeeds", "fails"]));
        let outcome = outcome.map(|word| if word == "fails" { Outcome::Fails } else { Outcome::Succeeds });
        Some((secret?, outcome?))
    })?;
    let relay = context.relay().await?;
    let (intent, status) = Sandbox::new(&relay).challenge(&secret, outcome).await?;
    // As a webhook does. Where this is lost, the timer asks.
    let _ = relay.run(UnitOfWork::new().step(store::PAYMENT_IS_DUE, [json!(intent)])).await;
    Ok(Response::json(200, &json!({"status": status.as_str()})))
}
