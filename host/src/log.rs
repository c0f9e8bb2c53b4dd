//! The log, on stderr. `RUST_LOG` sets its levels.

use std::io::IsTerminal;

use towpath_log::Lines;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::options::{LogFormat, Options};

/// The levels without `RUST_LOG`. On finer levels, hyper and wasmtime log every connection and every call.
const DEFAULT_FILTER: &str = "info";

/// Starts logging in the format that the options name. Call it once.
pub fn start_log(options: &Options) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt().with_env_filter(filter).with_writer(|| Lines(std::io::stderr()));
    match options.log_format {
        LogFormat::Pretty => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).init(),
    }
}
