//! `towpath migrate`: brings the databases of a running stack to the newest schema.
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::State;
use towpath_stack::surroundings::Surroundings;
use towpath_stack::terminal::{print, say};

use crate::edge;

#[derive(Debug, clap::Args)]
#[command(after_help = "`towpath up` migrates by itself. This is for a stack that runs while a migration is written.
A migration that was applied and has changed since, or is gone, is refused; so is going backwards.

Examples:
  towpath migrate                                   after adding migrations/order/V2__gifts.sql
  towpath migrate && towpath restart relay host     and the code that uses it")]
pub(crate) struct Args {}

pub(crate) async fn command(_args: &Args, home: &Home) -> Result<ExitCode> {
    let state = State::running(home)?;
    let (services, secrets) = (Services::load()?, Secrets::load(home)?);
    state.needs(home, &services.databases().map(ports::database).collect::<Vec<_>>())?;
    let surroundings =
        Surroundings { ports: &state.ports, services: &services, secrets: &secrets, servers: state.servers };
    let migrating = edge::migrate(home, surroundings.relay(1, true)?, say);
    for line in migrating.await? {
        print(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}
