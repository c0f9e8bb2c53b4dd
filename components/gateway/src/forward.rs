//! The call to a service, by service chaining.

use std::sync::OnceLock;

use towpath_sdk::{Context, Problem, Request, Response};

use crate::{domain, identify, limit};

/// The variable `payment_provider`, once this instance has read it.
static PAYMENT_PROVIDER: OnceLock<String> = OnceLock::new();

/// Forwards the request to a service, and its response to the client, unless the client exceeds its rate limit, or may not
/// ask for this.
///
/// # Errors
/// 429 beyond the rate limit; what [`identify::check`] refuses; 502 and 503 where the service gives no response of its own.
pub(crate) async fn forward(context: &Context, request: &Request, service: &'static str) -> Result<Response, Problem> {
    limit::check(context, request).await?;
    let caller = identify::check(context, request).await?;
    let payment_provider = match domain::is_about_payments(service) {
        true => Some(payment_provider(context).await?),
        false => None,
    };
    let target = match request.raw_query() {
        "" => request.path().to_owned(),
        query => format!("{}?{query}", request.path()),
    };
    let headers = domain::handed_on(request.headers(), &caller);
    let peer = context.peer(service).with_timeout(domain::timeout(request));
    let method = request.http_method();
    let answer = peer.send(method.clone(), &target, headers, request.body().clone()).await;
    let answer = answer.map_err(|error| domain::unanswered(service, method, &error))?;
    let response = domain::answer(service, answer)?;
    let response = match payment_provider {
        Some(name) => domain::named(response, name),
        None => response,
    };
    Ok(response
        .header("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
        .header("referrer-policy", "no-referrer"))
}

async fn payment_provider(context: &Context) -> Result<&'static str, Problem> {
    if PAYMENT_PROVIDER.get().is_none() {
        let _ = PAYMENT_PROVIDER.set(context.variable("payment_provider").await?);
    }
    Ok(PAYMENT_PROVIDER.get().map_or("", String::as_str))
}
