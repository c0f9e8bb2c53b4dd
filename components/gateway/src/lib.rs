#![doc = include_str!("../README.md")]

pub mod access;
mod callers;
pub mod domain;
mod forward;
mod health;
mod identify;
mod limit;

use towpath_sdk::{Context, Problem, Request, Response};

use domain::Route;

towpath_sdk::service!(handle, towpath_sdk::serve::max_body_with_webhooks);

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
