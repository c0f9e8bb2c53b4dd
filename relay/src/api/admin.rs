//! Health and metrics, on a port of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use metrics::gauge;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::json;
use crate::postgres::{Database, Pool, Session, migrate};
use crate::relay::Relay;
use crate::service::Service;
use crate::standstill::Told;
use crate::telemetry::metrics::{POOL_CONNECTIONS, POOL_WAITING, REDIS_UP, recorder};
use crate::watchdog::MAX_REPLACEMENTS;

/// How long each dependency may take to answer.
const LOOK: Duration = Duration::from_secs(1);

/// A start takes no longer than this: what is not there then, isn't coming for a reason that `/readyz` tells otherwise.
const MAX_START: Duration = Duration::from_secs(30);

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn admin_router(relay: Arc<Relay>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(relay)
}

/// What `/readyz` answers. 200 for `ready` and for `degraded`: services whose database can be reached are served, whatever
/// else is away or stands still. 503 for `unready` (no database can be reached, or a part stands still although it was replaced
/// again and again), `starting` (its publishers and consumers don't have their shares yet) and `stopping`.
#[derive(Debug, Serialize)]
struct Readiness {
    status: &'static str,
    dependencies: BTreeMap<String, Dependency>,
    /// Open dead letters per service, if there are any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dead_letters: BTreeMap<String, u64>,
    /// What stands still, such as `order.deliveries`, if anything does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    standing: BTreeMap<String, Told>,
}

#[derive(Debug, Serialize)]
struct Dependency {
    up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<anyhow::Result<()>> for Dependency {
    fn from(look: anyhow::Result<()>) -> Self {
        Self { up: look.is_ok(), detail: look.err().map(|cause| format!("{cause:#}")) }
    }
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
    let databases = relay.services.values().filter_map(|s| Some((s.name.clone(), s.database().ok()?.clone())));
    let looks = databases.map(async |(name, database)| {
        (format!("postgres.{name}"), Dependency::from(look_at_database(&database).await))
    });
    let (found, kafka) = tokio::join!(join_all(looks), look_at_kafka(&relay));
    let no_database = !found.is_empty() && found.iter().all(|(_, dependency)| !dependency.up);
    let mut dependencies: BTreeMap<_, _> = found.into_iter().collect();
    dependencies.extend(kafka.map(|kafka| ("kafka".to_owned(), kafka)));
    let redis = if relay.redis.is_up() { Ok(()) } else { Err(anyhow::anyhow!("not connected")) };
    dependencies.insert("redis".into(), redis.into());
    let standing: BTreeMap<String, Told> = relay.services.values().flat_map(|service| told(service)).collect();
    let all_up = dependencies.values().all(|dependency| dependency.up);
    let road_is_open = relay.config.kafka.is_none() || relay.services.values().all(|service| service.road.is_open());
    let starting = all_up && !road_is_open && relay.started.elapsed() < MAX_START;
    let stuck = standing.values().any(|told| told.replaced >= MAX_REPLACEMENTS);
    let status = if relay.lifecycle.stop_calling.is_cancelled() {
        "stopping"
    } else if starting {
        "starting"
    } else if no_database || stuck {
        "unready"
    } else if standing.is_empty() && all_up {
        "ready"
    } else {
        "degraded"
    };
    let code = match status {
        "ready" | "degraded" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let open = |s: &Arc<Service>| (s.name.to_string(), s.dead_letters.load(Ordering::Relaxed));
    let dead_letters = relay.services.values().map(open).filter(|(_, open)| *open > 0).collect();
    json(code, &Readiness { status, dependencies, dead_letters, standing })
}

fn told(service: &Service) -> impl Iterator<Item = (String, Told)> {
    service.standstills.all().into_iter().map(|(part, told)| (format!("{}.{part}", service.name), told))
}

/// Whether it answers, and has the tables that this relay needs.
async fn look_at_database(database: &Database) -> anyhow::Result<()> {
    let look = async {
        let mut session = Session::take(&database.relay).await?;
        session.opens();
        let missing = migrate::missing(session.client()).await?;
        session.closed();
        anyhow::ensure!(missing.is_empty(), "run `towpath-relay migrate`: {} is missing", missing.join(", "));
        Ok(())
    };
    timeout(LOOK, look).await?
}

/// Whether one broker takes connections. That is enough: the clients find the others.
async fn look_at_kafka(relay: &Relay) -> Option<Dependency> {
    let brokers = &relay.config.kafka.as_ref()?.brokers;
    let mut last = anyhow::anyhow!("no broker is named");
    for broker in brokers.split(',').map(str::trim) {
        match timeout(LOOK, TcpStream::connect(broker)).await {
            Ok(Ok(_)) => return Some(Ok(()).into()),
            Ok(Err(cause)) => last = anyhow::anyhow!("{broker}: {cause}"),
            Err(_) => last = anyhow::anyhow!("{broker}: no answer within {LOOK:?}"),
        }
    }
    Some(Err(last).into())
}

async fn metrics(State(relay): State<Arc<Relay>>) -> Response {
    let Some(recorder) = recorder() else { return StatusCode::NOT_FOUND.into_response() };
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
    let mut response = recorder.render().into_response();
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}
