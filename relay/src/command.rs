//! The program `towpath-relay`: runs the relay, checks its configuration, migrates the databases of its services, replays and
//! drops dead letters, moves events that Kafka refuses, or says what its users need in Kafka.
//!
//! It stands in the library, so that the relay is compiled once: a future's code is made by the crate that polls it.

mod dlq;
mod kafka_acls;
mod outbox;
mod print;
pub(crate) mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures::Stream;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Limits};
use crate::failure::told;
use crate::panics;
use crate::postgres::migrate;
use crate::telemetry;

/// Exit status for a bad configuration: EX_USAGE of sysexits.h.
const BAD_CONFIGURATION: u8 = 64;

/// Connects a Spin application to PostgreSQL, Kafka and Redis.
#[derive(Parser)]
#[command(version, after_help = "Example: towpath-relay run --config relay.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration file
    #[arg(long, global = true, default_value = "relay.toml", env = "TOWPATH_RELAY_CONFIG")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or SIGINT; a second signal drops the work that is in flight
    Run,
    /// Check the configuration and print every fault in it, and warnings of what is probably not meant
    Check,
    /// Create or update the databases of all services: roles, the relay's tables, the services' migrations
    Migrate,
    /// List, show, replay and drop dead letters: events that a component did not accept
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// List, show, retry and drop events that Kafka does not accept
    #[command(subcommand)]
    Outbox(outbox::Command),
    /// Print what the users of relay.toml must be allowed in Kafka
    KafkaAcls(kafka_acls::Args),
    /// Print every limit of `[limits]`: its default, its range, its meaning
    Limits,
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Limits) {
        print_limits();
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&cli.config) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let outcome = match cli.command {
        Command::Check | Command::Limits => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            println!("{} is valid: {} services", cli.config.display(), config.services.len());
            return ExitCode::SUCCESS;
        }
        Command::KafkaAcls(args) => kafka_acls::run(&config, &args).map(|()| true),
        Command::Migrate => block_on(migrate(config)),
        Command::Dlq(command) => block_on(async { dlq::run(&config, &command).await }),
        Command::Outbox(command) => block_on(async { outbox::run(&config, &command).await }),
        Command::Run => block_on(serve(config)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("{}: {}", name(), told(&cause));
            ExitCode::FAILURE
        }
    }
}

/// As it was called: `towpath dlq` runs this program as `towpath`.
fn name() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "towpath-relay".to_owned())
}

fn print_limits() {
    for (name, default, min, max, text) in Limits::ALL {
        println!("{name} = {default}  # {min} to {max}.{text}");
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<bool>>) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // After a forced stop a call of the Kafka client may still block: don't wait for it.
    runtime.shutdown_background();
    outcome
}

async fn migrate(config: Config) -> anyhow::Result<bool> {
    for report in migrate::run(&config).await? {
        println!("{report}");
    }
    Ok(true)
}

async fn serve(config: Config) -> anyhow::Result<bool> {
    raise_descriptors();
    let signals = signals()?;
    let telemetry = telemetry::init(&config)?;
    panics::log();
    for warning in &config.warnings {
        tracing::warn!(
            key = warning.path,
            cause = warning.message,
            "a value in relay.toml is probably not what is meant"
        );
    }
    let graceful = crate::run(config, signals).await;
    telemetry.flush().await;
    graceful
}

/// Raises the soft limit of open files to the hard one: every connection needs a descriptor, and the usual soft limit of 1024
/// is far below `limits.connections`.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where even that is refused, the old limit stays, which is what a relay without this has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A stream of SIGTERM and SIGINT.
fn signals() -> anyhow::Result<impl Stream<Item = ()> + Unpin> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(futures::stream::poll_fn(move |context| match terminate.poll_recv(context) {
        std::task::Poll::Ready(signal) => std::task::Poll::Ready(signal),
        std::task::Poll::Pending => interrupt.poll_recv(context),
    }))
}
