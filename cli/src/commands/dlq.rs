//! `towpath dlq`: dead letters of a running stack. The relay's program has the command; this one runs it with the
//! environment of the stack's relay.
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::{Phase, State};
use towpath_stack::surroundings::Surroundings;

use crate::edge;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The relay writes an event to a dead letter topic when its component refuses it for good (400, 409, 422 or another 4xx that
concerns the event), fails on it every time (500 and most other 5xx), or when it is no CloudEvent. It stays there until you
decide. A wrong token or route (401, 403, 404, 405, 3xx) makes no dead letters: those events wait until it is mended.

  list     one line for each (--json: one object)
  show     everything: reason, headers, data
  replay   deliver to that service again, in order per key, after you have repaired the cause
  drop     delete for good (--yes)

Each takes ids, or --service, --topic, --key, --reason, --since, --until; replay and drop also --all.

Examples:
  towpath dlq list                                      every dead letter
  towpath dlq list --service payment --since 2h         of one service, of the last two hours
  towpath dlq show order.events.payment.dlq/7           all of one
  towpath dlq replay order.events.payment.dlq/7         deliver it again
  towpath dlq replay --service payment                  all of a service, in order per key
  towpath dlq drop --key 0198f3 --reason refused --yes  delete for good
  towpath dlq list --help                               every option
  towpath --home /tmp/other dlq list                    of another stack: --home stands before dlq"
)]
pub(crate) struct Args {
    /// list, show, replay or drop, and what each takes
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    if args.arguments.iter().any(|argument| argument.starts_with("--home")) {
        bail!("--home stands before dlq, as in: towpath --home /tmp/other dlq list");
    }
    let mut relay = Command::new(edge::binary("towpath-relay")?);
    let asks_for_help = args.arguments.iter().any(|argument| ["-h", "--help", "help"].contains(&argument.as_str()));
    if !asks_for_help {
        let state = State::current(home)?.filter(|state| state.phase != Phase::Stopped);
        let none = || format!("no stack runs under {}: start it with `towpath up`", home.path().display());
        let state = state.with_context(none)?;
        let (services, secrets) = (Services::load()?, Secrets::load(home)?);
        let surroundings =
            Surroundings { ports: &state.ports, services: &services, secrets: &secrets, servers: state.servers };
        relay.envs(surroundings.relay(1, false)?);
    }
    let root = checkout::repository()?;
    relay.env(checkout::RELAY_CONFIG, checkout::relay_config(&root)).arg0("towpath").arg("dlq").args(&args.arguments);
    Err(relay.exec()).context("cannot run towpath-relay")
}
