//! The gateway: the one public component. It limits, and passes requests to the services by service chaining.

pub mod domain;
mod limit;

use serde_json::json;
use towpath_sdk::{Context, Problem, Request, Response, outbound::Answer};

use domain::Route;

towpath_sdk::service!(handle);

/// Answers a request, or has it answered.
///
/// # Errors
/// The problem that the client gets instead.
pub async fn handle(context: Context, request: Request) -> Result<Response, Problem> {
    match domain::route(&request)? {
        Route::Health => Ok(Response::json(200, &json!({"status": "ok"}))),
        Route::Service(service) => {
            limit::check(&context, &request).await?;
            let answer = pass_on(&context, &request, service).await?;
            let response = domain::answer(service, answer)?;
            Ok(response
                .header("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
                .header("referrer-policy", "no-referrer"))
        }
    }
}

async fn pass_on(context: &Context, request: &Request, service: &'static str) -> Result<Answer, Problem> {
    let target = match request.raw_query() {
        "" => request.path().to_owned(),
        query => format!("{}?{query}", request.path()),
    };
    let headers = domain::passed_on(request.headers());
    let peer = context.peer(service).with_timeout(domain::timeout(request));
    let method = request.http_method();
    let answer = peer.send(method.clone(), &target, headers, request.body().clone()).await;
    answer.map_err(|error| domain::unanswered(service, method, &error))
}
