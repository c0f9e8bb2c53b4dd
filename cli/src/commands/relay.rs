//! Commands that the relay's program has: this one runs it with the environment of the stack's relay.
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::State;
use towpath_stack::surroundings::Surroundings;

use crate::edge;

/// Becomes `towpath-relay NAME ARGUMENTS`.
///
/// # Errors
/// Where one of the parts that it `needs` was stopped.
pub(super) fn run(name: &str, arguments: &[String], home: &Home, needs: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument.starts_with("--home")) {
        bail!("--home stands before {name}, as in: towpath --home /tmp/other {name} list");
    }
    let mut relay = Command::new(edge::binary("towpath-relay")?);
    let asks_for_help = arguments.iter().any(|argument| ["-h", "--help", "help"].contains(&argument.as_str()));
    if !asks_for_help {
        let state = State::running(home)?;
        state.needs(home, needs)?;
        let (services, secrets) = (Services::load()?, Secrets::load(home)?);
        let surroundings =
            Surroundings { ports: &state.ports, services: &services, secrets: &secrets, servers: state.servers };
        relay.envs(surroundings.relay(1, false)?);
    }
    let application = checkout::application()?;
    relay.env(checkout::RELAY_CONFIG, checkout::relay_config(&application)).arg0("towpath").arg(name).args(arguments);
    Err(relay.exec()).context("cannot run towpath-relay")
}
