//! `/metrics`: one rendering at a time, for all who asked before it began.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use metrics::gauge;
use tokio::sync::Mutex;

use crate::postgres::Pool;
use crate::relay::Relay;
use crate::telemetry::metrics::{POOL_CONNECTIONS, POOL_WAITING, REDIS_UP, recorder};

/// The last rendering, and who it is of.
#[derive(Clone)]
pub(super) struct Scrape {
    relay: Arc<Relay>,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Scrape {
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        Self { relay, last: Arc::default() }
    }

    /// A rendering that began after this call. `None` where nothing is recorded.
    async fn text(&self) -> Option<Bytes> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match &*last {
            Some((began, text)) if *began >= asked => Some(text.clone()),
            _ => {
                let began = Instant::now();
                let text = Bytes::from(render(&self.relay)?);
                *last = Some((began, text.clone()));
                Some(text)
            }
        }
    }
}

pub(super) async fn metrics(State(scrape): State<Scrape>) -> Response {
    let Some(text) = scrape.text().await else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = text.into_response();
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn render(relay: &Relay) -> Option<String> {
    let recorder = recorder()?;
    gauge!(REDIS_UP).set(f64::from(u8::from(relay.redis.is_up())));
    for service in relay.services.values() {
        let Ok(database) = service.database() else { continue };
        let pools = [
            ("app", Some(database.app.status())),
            ("relay", Some(database.relay.status())),
            ("replica", database.replica.as_ref().map(Pool::status)),
        ];
        for (name, status) in pools {
            let Some(status) = status else { continue };
            let labels = |state: &'static str| {
                [("service", service.name.to_string()), ("pool", name.into()), ("state", state.into())]
            };
            gauge!(POOL_CONNECTIONS, &labels("idle")).set(status.available as f64);
            gauge!(POOL_CONNECTIONS, &labels("busy")).set(status.size.saturating_sub(status.available) as f64);
            gauge!(POOL_WAITING, "service" => service.name.clone(), "pool" => name).set(status.waiting as f64);
        }
    }
    Some(recorder.render())
}
