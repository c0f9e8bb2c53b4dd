//! `towpath dlq`: dead letters of a running stack.
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::home::Home;

use super::relay;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The relay writes an event to a dead letter topic when its component refuses it for good (400, 409, 422 or another 4xx that
concerns the event), fails on it every time (500 and most other 5xx), or when it is no CloudEvent or too large to deliver. It
stays there until you decide. A letter that is too large for its topic says in which record its data stand; a replay reads them
there, unless Kafka has deleted them. A wrong token or route (401, 403, 404, 405, 3xx) makes no dead letters: those events wait until it is mended.

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
    relay::run("dlq", &args.arguments, home, &["kafka".to_owned()])
}
