#![doc = include_str!("../README.md")]

mod admission;
mod application;
mod components;
mod descriptors;
#[cfg(test)]
mod docs;
mod engine;
mod log;
pub mod manifest;
mod options;
mod outbound;
mod problem;
mod routes;
mod server;
mod spin_headers;
mod template;
mod variables;
mod waits;

use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::time::Instant;

use anyhow::Context as _;
use tokio::net::TcpListener;

use application::Application;
use engine::Runtime;
pub use log::start_log;
use manifest::{Fault, Faults, LOOPBACK_ONLY, Manifest};
pub use options::Options;
pub use outbound::{AllowedHost, AllowedHosts};
pub use routes::{Captures, Pattern, Router};
pub use server::Stopped;
use server::{Door, Server};
pub use variables::Variables;

/// Something that is waited for. Boxed here, so that this crate has the code of the whole host, and not each crate that
/// runs it.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs an application until `stop`. Then finishes the requests in flight until `force` or the drain timeout.
///
/// The error is [`Faults`] if the application is wrong, and can be corrected by its author.
#[must_use]
pub fn run(options: Options, stop: Work<()>, force: Work<()>) -> Work<anyhow::Result<Stopped>> {
    Box::pin(serve(options, stop, force))
}

/// Where it listens for deliveries, unless it is told.
const DELIVERIES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3100);

async fn serve(options: Options, stop: Work<()>, force: Work<()>) -> anyhow::Result<Stopped> {
    // Listens first: a port that is in use is an error before the components are compiled.
    let listener = if options.check { None } else { Some(listen(options.listen, "--listen").await?) };
    let started = Instant::now();
    let loading = options.clone();
    let application = tokio::task::spawn_blocking(move || load(&loading)).await.context("loading failed")??;
    let (routes, took_ms) = (application.router.iter().count(), started.elapsed().as_millis());
    tracing::info!(application = application.name, routes, took_ms, "loaded");
    let Some(listener) = listener else { return Ok(Stopped::Drained) };
    let mut limits = options.server_limits();
    limits.max_connections = descriptors::max_connections(limits.max_connections);
    let deliveries = match application.takes_deliveries() {
        true => Some(listen(options.deliveries_listen.unwrap_or(DELIVERIES), "--deliveries-listen").await?),
        false => None,
    };
    let (address, mut server) = (listener.local_addr()?, Server::new(application, limits));
    server.listen(listener, Door::Public)?;
    announce("listening", address)?;
    if let Some(deliveries) = deliveries {
        let address = deliveries.local_addr()?;
        server.listen(deliveries, Door::Deliveries)?;
        announce("listening for deliveries", address)?;
    }
    Ok(server.run(stop, force, options.drain_timeout).await)
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; choose another address with {option}"))
}

/// Reads the manifest, resolves the variables and compiles the components.
fn load(options: &Options) -> anyhow::Result<Application> {
    let text = std::fs::read_to_string(&options.manifest)
        .with_context(|| format!("cannot read {}; name the application with --manifest", options.manifest.display()))?;
    let folder = options.manifest.parent().unwrap_or(Path::new("."));
    let of_manifest = |faults: Faults| anyhow::Error::new(faults).context(options.manifest.display().to_string());
    let manifest = Manifest::parse(&text).map_err(of_manifest)?;
    let variables = Variables::resolve(&manifest, folder, |name| std::env::var(name).ok()).map_err(of_manifest)?;
    check_loopback_only(options, &manifest, &variables).map_err(of_manifest)?;
    let runtime = Runtime::new(options.instances.max_instances, options.cache_dir.as_deref())?;
    Application::load(&manifest, folder, &variables, &runtime, &options.application_limits())
        .map_err(|error| error.context(options.manifest.display().to_string()))
}

/// Refuses values that are for this machine alone where others could reach the application, unless they were allowed by
/// name.
fn check_loopback_only(options: &Options, manifest: &Manifest, variables: &Variables) -> Result<(), Faults> {
    if options.listen.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let is_allowed = |name: &str| options.allow_beyond_loopback.iter().any(|allowed| allowed == name);
    let forgotten = variables.loopback_only(manifest).filter(|(name, _)| !is_allowed(name));
    let faults: Vec<Fault> = forgotten
        .map(|(name, line)| Fault {
            line,
            message: format!(
                "`{LOOPBACK_ONLY}.{name}`: with this value the host doesn't listen beyond loopback, on {}: set \
                 SPIN_VARIABLE_{} to another value, or say --allow-beyond-loopback {name}",
                options.listen,
                name.to_ascii_uppercase()
            ),
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

/// Tells the program that started the host that it accepts connections, and where.
fn announce(what: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} http://{address}").and_then(|()| out.flush()).context("cannot write to stdout")
}
