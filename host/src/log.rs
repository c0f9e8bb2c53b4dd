//! The log, on stderr. `RUST_LOG` sets its levels.

use std::io::IsTerminal;

use towpath_log::Lines;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::options::{LogFormat, Options};

/// The levels without `RUST_LOG`. On finer levels, hyper and wasmtime log every connection and every call; h2 warns of what a
/// client does to its own connection.
const DEFAULT_FILTER: &str = "info,h2=error";

/// Colours are for a terminal, and for who has not forbidden them (<https://no-color.org>).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts logging in the format that the options name. Call it once.
pub fn start_log(options: &Options) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt().with_env_filter(filter).with_writer(|| Lines(std::io::stderr()));
    match options.log_format {
        LogFormat::Pretty => log.with_ansi(colours()).init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).init(),
    }
}
