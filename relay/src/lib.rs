#![doc = include_str!("../README.md")]

pub mod api;
mod backoff;
mod board;
mod clock;
pub mod command;
mod component;
pub mod config;
#[cfg(test)]
mod docs;
pub mod events;
mod failure;
mod health;
mod heavy;
pub mod kafka;
mod key_places;
mod keys;
mod lifecycle;
mod lock_places;
mod panics;
pub mod postgres;
pub mod query;
pub mod redis;
mod relay;
mod service;
mod shards;
mod standstill;
pub mod telemetry;
mod timers;
mod turns;
pub mod unit_of_work;
mod watchdog;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Full;
use crate::config::Config;
use crate::panics::outlive;
use crate::redis::look;
use crate::telemetry::metrics;
use crate::turns::Turns;
use crate::watchdog::Watchdog;
use crate::watchdog::parts::{Grows, watched};

pub use failure::Failure;
pub use lifecycle::Lifecycle;
pub use relay::Relay;
pub use service::Service;

/// How long a part that serves all services may stand still: longer than anything that it waits for.
const PATIENCE: Duration = Duration::from_secs(15);

/// Statements that must cost the same however many rows are there: tests count what they touch.
#[doc(hidden)]
pub mod statements {
    pub use crate::events::outbox::READ;
    pub use crate::timers::retention::delete_between;
}

/// A relay that runs.
#[derive(Debug)]
pub struct Running {
    /// Its shared state.
    pub relay: Arc<Relay>,
    /// Where components reach it.
    pub address: SocketAddr,
    /// Where it serves health and metrics.
    pub admin_address: SocketAddr,
}

/// Starts a relay. Binds its ports first, so that a port in use is an error before any work begins.
///
/// # Errors
/// If a port can't be bound, or a client can't be built from the configuration.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let (listener, address) = bind(config.relay.listen).await.context("relay.listen")?;
    let (admin_listener, admin_address) = bind(config.relay.admin_listen).await.context("relay.admin_listen")?;
    let _ = metrics::recorder();
    let relay = Relay::new(config)?;
    spawn_background(&relay);
    timers::start(&relay);
    events::start(&relay)?;
    spawn_servers(&relay, listener, admin_listener);
    Ok(Running { relay, address, admin_address })
}

fn spawn_background(relay: &Arc<Relay>) {
    let life = &relay.lifecycle;
    let stop = || life.stop_background.clone();
    let spawn = |part: BoxFuture<'static, ()>| {
        life.background.spawn(life.forced.clone().run_until_cancelled_owned(part));
    };
    let watchdog = |part| Watchdog::of_all(&relay.standstills, part, PATIENCE);
    let (redis, wakeups) = (&relay.redis, &relay.wakeups);
    let (kept, stopped) = (redis.clone(), stop());
    let make = move || kept.clone().keep(stopped.clone());
    spawn(watched(watchdog("redis"), look::ConnectionEye::new(redis), make).boxed());
    let (sending, sent, stopped) = (wakeups.clone(), redis.clone(), stop());
    let make = move || sending.clone().send(sent.clone(), stopped.clone());
    spawn(watched(watchdog("wake-ups out"), look::at_sending(redis, wakeups), make).boxed());
    let (hearing, heard, stopped) = (wakeups.clone(), redis.clone(), stop());
    let make = move || hearing.clone().receive(heard.clone(), stopped.clone());
    spawn(watched(watchdog("wake-ups in"), look::HearingEye::new(redis, wakeups), make).boxed());
    for service in relay.services.values() {
        let (cache, stopped) = (service.cache.clone(), stop());
        let make = move || cache.clone().catch_up(stopped.clone());
        let watchdog = watchdog("cache").of(&service.name);
        spawn(watched(watchdog, look::at_invalidating(redis, &service.cache), make).boxed());
    }
    health::watchers(relay, &life.stop_background).into_iter().for_each(&spawn);
    let (turns, stopped) = (Turns::default(), stop());
    let turned = turns.clone();
    let look = Grows::new("histograms are not drained", move || Some(turned.count()));
    let make = move || stopped.clone().run_until_cancelled_owned(metrics::upkeep(turns.clone()));
    spawn(watched(watchdog("metrics"), look, make).map(|_| ()).boxed());
}

/// Health is served until the end of a stop, so that `/readyz` shows it.
fn spawn_servers(relay: &Arc<Relay>, listener: TcpListener, admin_listener: TcpListener) {
    let life = &relay.lifecycle;
    let serve =
        |listener: TcpListener, router: axum::Router, places, tracker: &TaskTracker, stop: &CancellationToken| {
            let (limits, connections) = (relay.config.limits.clone(), tracker.clone());
            let (stop, forced) = (stop.clone(), life.forced.clone());
            tracker.spawn(async move {
                let serve = || {
                    let (router, limits) = (router.clone(), limits.clone());
                    api::serve(&listener, router, limits, places, connections.clone(), stop.clone(), forced.clone())
                };
                outlive("listener", serve).await;
            });
        };
    let limits = &relay.config.limits;
    let (places, admin_places) = ((limits.connections, Full::NextWaits), (limits.admin_connections, Full::OldestEnds));
    serve(listener, api::router(Arc::clone(relay)), places, &life.takers, &life.stop_taking);
    let admin = api::admin_router(Arc::clone(relay));
    serve(admin_listener, admin, admin_places, &life.background, &life.stop_background);
}

impl Running {
    /// Stops gracefully, within `relay.shutdown_deadline_ms`. Answers whether all work ended by itself.
    pub async fn stop(self) -> bool {
        let graceful = self.relay.lifecycle.stop(self.relay.config.relay.shutdown_deadline).await;
        for service in self.relay.services.values() {
            if let Ok(database) = service.database() {
                database.close();
            }
        }
        graceful
    }
}

/// Runs a relay until the first signal, then stops it gracefully; a second signal drops the work that is in flight.
/// Answers whether all work ended by itself.
///
/// # Errors
/// If it can't start.
async fn run(config: Config, mut signals: impl Stream<Item = ()> + Unpin) -> anyhow::Result<bool> {
    let running = start(config).await?;
    let (address, admin_address) = (running.address, running.admin_address);
    tracing::info!(%address, %admin_address, services = running.relay.services.len(), "the relay is listening");
    signals.next().await;
    tracing::info!("the relay is stopping");
    let forced = running.relay.lifecycle.forced.clone();
    let stopping = running.stop();
    tokio::pin!(stopping);
    let graceful = tokio::select! {
        graceful = &mut stopping => graceful,
        Some(()) = signals.next() => {
            forced.cancel();
            stopping.await
        }
    };
    tracing::info!(graceful, "the relay has stopped");
    Ok(graceful)
}

async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
