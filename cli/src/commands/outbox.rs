//! `towpath outbox`: events of a running stack that Kafka refuses.
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::home::Home;

use super::relay;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Kafka refuses an event that is larger than its topic takes, or for a topic that is away or forbidden to the relay. Then the
events of that key wait in the database, in order; all others go on. The relay tries the first of them again by itself, at
least once a minute: mend the topic, and they go on. `/readyz` of the relay names such keys under `standing`.

  list     one line for each key that waits, with its first event and what Kafka says (--json: one object)
  show     everything of these events, with their data
  retry    try them at once
  drop     delete an event for good (ids, and --yes); its key goes on with the next

Each takes ids; list, show and retry also --service, --topic, --key, and retry --all.

Examples:
  towpath outbox list                          every key that waits
  towpath outbox list --service order          of one service
  towpath outbox show order/1234               all of one event
  towpath outbox retry --all                   after you have mended the topic
  towpath outbox drop order/1234 --yes         delete for good
  towpath outbox list --help                   every option
  towpath --home /tmp/other outbox list        of another stack: --home stands before outbox"
)]
pub(crate) struct Args {
    /// list, show, retry or drop, and what each takes
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    // It lists what the databases hold that run, and names the others.
    relay::run("outbox", &args.arguments, home, &[])
}
