//! Health and metrics, on a port of their own.
//!
//! Nobody shows a token here, so nothing here may cost much however many ask: `/healthz` and `/readyz` read what is known
//! ([`crate::health`]), and one rendering of the metrics is for all who wait for one.

mod readiness;
mod scrape;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use super::json;
use crate::relay::Relay;
use readiness::Readiness;
use scrape::Scrape;

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn admin_router(relay: Arc<Relay>) -> Router {
    let metrics = Router::new().route("/metrics", get(scrape::metrics)).with_state(Scrape::new(Arc::clone(&relay)));
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(relay).merge(metrics)
}

/// 503 where a part of the relay has ended for good: it must be started again.
async fn healthz(State(relay): State<Arc<Relay>>) -> Response {
    let ended: Vec<&str> = relay.services.values().filter_map(|service| service.ended()).collect();
    if ended.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("a part of the relay has ended; restart it: {}\n", ended.join("; "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn readyz(State(relay): State<Arc<Relay>>) -> Response {
    let readiness = Readiness::of(&relay).await;
    json(readiness.code(), &readiness)
}
