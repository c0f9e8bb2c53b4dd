//! The log, on stderr. `RUST_LOG` says what is in it; without it, that is what someone who runs the host wants to know.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::options::LogFormat;

/// What is logged where `RUST_LOG` is not set. hyper and wasmtime tell of every connection and every call on finer
/// levels.
const DEFAULT_FILTER: &str = "info";

/// Begins to log. Called once.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Pretty => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).init(),
    }
}
