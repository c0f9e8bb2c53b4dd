//! `towpath stop`, `start` and `restart`: one part of a running stack.
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::control::{Request, ask_telling};
use towpath_stack::home::Home;
use towpath_stack::terminal::say;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath stop kafka             orders are still taken, and finish once it is back
  towpath stop postgres-payment  and then: towpath start postgres-payment
Parts: postgres-product, postgres-order, postgres-payment, postgres-inventory, kafka, redis, relay, host; with
--replicas also relay-2, host-2 and so on")]
pub(crate) struct StopArgs {
    /// The parts
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath start kafka            what `towpath stop kafka` stopped
Parts: postgres-product, postgres-order, postgres-payment, postgres-inventory, kafka, redis, relay, host; with
--replicas also relay-2, host-2 and so on")]
pub(crate) struct StartArgs {
    /// The parts
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath restart relay          after a change of relay.toml (./towpath builds it first where its code changed)
  towpath restart relay host     one after the other
  towpath restart host-2         one replica: the other goes on answering
Parts: postgres-product, postgres-order, postgres-payment, postgres-inventory, kafka, redis, relay, host; with
--replicas also relay-2, host-2 and so on")]
pub(crate) struct RestartArgs {
    /// The parts
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn stop(args: &StopArgs, home: &Home) -> Result<ExitCode> {
    each(home, &args.names, |part| Request::Stop { part })
}

pub(crate) fn start(args: &StartArgs, home: &Home) -> Result<ExitCode> {
    each(home, &args.names, |part| Request::Start { part })
}

pub(crate) fn restart(args: &RestartArgs, home: &Home) -> Result<ExitCode> {
    each(home, &args.names, |part| Request::Restart { part })
}

fn each(home: &Home, names: &[String], request: impl Fn(String) -> Request) -> Result<ExitCode> {
    for name in names {
        say(&ask_telling(home, &request(name.clone()), |what| say(&format!("Waiting: {what}")))?);
    }
    Ok(ExitCode::SUCCESS)
}
