//! The relay: a native sidecar that carries Spin applications to PostgreSQL, Kafka and Redis.
//!
//! A component sends it one unit of work; it runs that as one transaction with the events that follow, publishes them,
//! and delivers what others say to components, in order per key. It knows nothing of the application: `relay.toml`
//! ([`config`]) names the services, their databases, topics and routes.

pub mod config;
pub mod error;
pub mod lifecycle;
pub mod redis;
pub mod state;
pub mod telemetry;
pub mod wakeup;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::state::Relay;

/// A relay at work.
#[derive(Debug)]
pub struct Running {
    /// What it shares.
    pub relay: Arc<Relay>,
    /// Where services reach it.
    pub address: SocketAddr,
    /// Where health and metrics are served.
    pub admin_address: SocketAddr,
}

/// Starts a relay: binds first, so that a port in use is found before any work begins.
///
/// # Errors
/// Where it can't bind, or a client can't be built from the configuration.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let (listener, address) = bind(config.relay.listen).await?;
    let (admin_listener, admin_address) = bind(config.relay.admin_listen).await?;
    let relay = Relay::new(config)?;
    let life = &relay.lifecycle;
    life.background.spawn(relay.redis.clone().keep(life.stop_background.clone()));
    life.background.spawn(relay.wakeups.clone().send(relay.redis.clone(), life.stop_background.clone()));
    life.background.spawn(relay.wakeups.clone().receive(relay.redis.clone(), life.stop_background.clone()));
    drop((listener, admin_listener));
    Ok(Running { relay, address, admin_address })
}

impl Running {
    /// Stops gracefully, within the deadline of the configuration. Answers whether everything ended by itself.
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

/// Runs a relay until `shutdown` completes, then stops it gracefully. Answers whether everything ended by itself.
///
/// # Errors
/// Where it can't start.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<bool> {
    let running = start(config).await?;
    shutdown.await;
    Ok(running.stop().await)
}

async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
