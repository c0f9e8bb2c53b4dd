//! Logs, traces and metrics.
//!
//! Logs go to stderr, one JSON object per line or lines for a person. Traces are exported over OTLP if an endpoint is
//! configured; without one the relay still passes the trace context on, so that others' traces aren't broken.

mod context;
mod export;
pub(crate) mod metrics;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use towpath_log::Lines;
use tracing::Span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{Config, LogFormat};

pub use context::TraceContext;

/// Whether spans are exported: only then do they have ids of their own.
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Logging and export at work.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Colours are for a terminal, and for who has not forbidden them (<https://no-color.org>).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Begins to log and, where an endpoint is configured, to export. Once per process, inside the runtime.
///
/// # Errors
/// If the exporter can't be built, or a logger is installed already.
pub fn init(config: &Config) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&config.log.filter)?;
    let stderr = || Lines(std::io::stderr());
    let lines = match config.log.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(stderr).boxed(),
        LogFormat::Pretty => fmt::layer().compact().with_ansi(colours()).with_writer(stderr).boxed(),
    };
    let provider = config
        .telemetry
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| export::provider(endpoint, &config.relay.instance))
        .transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("towpath-relay");
        tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false)
    });
    EXPORTS.store(provider.is_some(), Ordering::Relaxed);
    tracing_subscriber::registry().with(filter).with(lines).with(spans).try_init()?;
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Exports what is left, for two seconds at most.
    pub async fn flush(self) {
        if let Some(provider) = self.provider {
            let limit = std::time::Duration::from_secs(2);
            let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit)).await;
        }
    }
}

/// Makes `span` follow what came in, before it is entered, and answers the context that goes on from here: the span's
/// own where spans are exported, otherwise what came in, or the beginning of a new trace.
#[must_use]
pub(crate) fn follow(span: &Span, incoming: Option<TraceContext>) -> TraceContext {
    if EXPORTS.load(Ordering::Relaxed)
        && let Some(context) = export::follow(span, incoming.as_ref())
    {
        return context;
    }
    incoming.unwrap_or_else(TraceContext::begin)
}
