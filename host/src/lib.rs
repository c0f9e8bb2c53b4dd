//! Runs a Spin application on an embedded wasmtime, so that the platform starts where no Spin is installed. It does what
//! Spin 4.1 does for the parts of `spin.toml` that it takes, and refuses the others by name; wasmtime's request handler
//! and hyper do the work.
//!
//! A request's way: `server` takes it, `routes` finds its component, `engine` has the component answer in an instance
//! that wasmtime's handler picks or makes, and `outbound` takes the calls that the component makes: to another component
//! in process, or over a connection that is kept for the next one. `application` holds these together.

mod admission;
mod application;
mod engine;
pub mod log;
pub mod manifest;
pub mod options;
pub mod outbound;
mod problem;
pub mod routes;
mod server;
mod spin_headers;
mod template;
pub mod variables;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use tokio::net::TcpListener;

use application::Application;
use engine::Runtime;
use manifest::{Faults, Manifest};
use options::Options;
use server::Server;
pub use server::Stopped;
use variables::Variables;

/// Runs an application until `stop`, then finishes what is in flight, until `force` or until the time for it is over.
///
/// An error that is [`Faults`] can be mended by whoever wrote the application.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()>,
    force: impl Future<Output = ()>,
) -> anyhow::Result<Stopped> {
    // A port that is in use is known before the components are compiled.
    let listener = if options.check { None } else { Some(listen(&options).await?) };
    let started = Instant::now();
    let loading = options.clone();
    let application = tokio::task::spawn_blocking(move || load(&loading)).await.context("loading failed")??;
    let (routes, took_ms) = (application.router.iter().count(), started.elapsed().as_millis());
    tracing::info!(application = application.name, routes, took_ms, "loaded");
    let Some(listener) = listener else { return Ok(Stopped::Drained) };
    let address = listener.local_addr()?;
    let server = Server::new(listener, application, options.server_limits())?;
    announce(address)?;
    Ok(server.run(stop, force, options.drain_timeout).await)
}

async fn listen(options: &Options) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(options.listen).await;
    listener.with_context(|| format!("cannot listen on {}; choose another address with --listen", options.listen))
}

/// Reads, settles and compiles everything.
fn load(options: &Options) -> anyhow::Result<Application> {
    let text = std::fs::read_to_string(&options.manifest)
        .with_context(|| format!("cannot read {}; name the application with --manifest", options.manifest.display()))?;
    let folder = options.manifest.parent().unwrap_or(Path::new("."));
    let of_manifest = |faults: Faults| anyhow::Error::new(faults).context(options.manifest.display().to_string());
    let manifest = Manifest::parse(&text).map_err(of_manifest)?;
    let variables = Variables::settle(&manifest, folder, |name| std::env::var(name).ok()).map_err(of_manifest)?;
    let runtime = Runtime::new(options.instances.max_instances, options.cache_dir.as_deref())?;
    Application::load(&manifest, folder, &variables, &runtime, &options.application_limits())
        .map_err(|error| error.context(options.manifest.display().to_string()))
}

/// Tells whoever started the host that it can be called, and where.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening http://{address}").and_then(|()| out.flush()).context("cannot write to stdout")
}
