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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_part_that_has_ended_for_good_is_told_and_a_part_that_ends_by_itself_is_not() {
        let text = "[redis]\nurl = \"redis://127.0.0.1\"\n[services.alpha]\ntoken = \"0123456789abcdef\"";
        let config = Config::parse("test", text, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        let relay = Relay::new(config).expect("a relay");
        let alpha = &relay.services["alpha"];
        Arc::clone(alpha).logged("outbox", async { Ok(()) }).await;
        assert_eq!(healthz(State(Arc::clone(&relay))).await.status(), StatusCode::OK);
        Arc::clone(alpha).logged("outbox", async { panic!("a word") }).await;
        let said = healthz(State(Arc::clone(&relay))).await;
        assert_eq!(said.status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = axum::body::to_bytes(said.into_body(), 1 << 10).await.expect("a text");
        assert!(text.ends_with(b"alpha.outbox: it panicked: a word\n"), "{text:?}");
    }
}
