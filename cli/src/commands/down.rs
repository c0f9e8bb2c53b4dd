//! `towpath down`: stops a stack that runs in the background (or in another terminal).
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use towpath_stack::control::{Request, ask};
use towpath_stack::home::{Home, Lock};
use towpath_stack::state::State;
use towpath_stack::terminal::say;

use crate::supervisor;

/// All deadlines of all parts, one after the other, are shorter.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is done sooner needs no word.
const MOMENT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(after_help = "The data stays: the next `towpath up` finds it again.

Examples:
  towpath down
  towpath down --home /tmp/other     the stack of another folder")]
pub(crate) struct Args {}

pub(crate) async fn command(_args: &Args, home: &Home) -> Result<ExitCode> {
    if stop(home).await? {
        say("Towpath has stopped.");
    } else {
        say(&format!("No stack runs under {}.", home.path().display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops whatever runs under this home, also what a killed supervisor left behind. Tells whether there was anything.
pub(crate) async fn stop(home: &Home) -> Result<bool> {
    if !home.run().is_dir() {
        return Ok(false);
    }
    if let Some(lock) = home.lock()? {
        return Ok(!supervisor::stop_leftovers(home, &lock).await?.is_empty());
    }
    if let Err(cause) = ask(home, &Request::Down) {
        return match freed(home).await? {
            Some(lock) => supervisor::stop_leftovers(home, &lock).await.map(|_| true),
            None => Err(cause),
        };
    }
    let began = Instant::now();
    let mut told = String::new();
    while home.is_held()? {
        let left = running(home);
        if began.elapsed() > PATIENCE {
            bail!("the supervisor doesn't end within {} s; still there: {left}", PATIENCE.as_secs());
        }
        if began.elapsed() > MOMENT && !left.is_empty() && left != told {
            say(&format!("Waiting for the end of {left}"));
            told = left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(true)
}

/// The lock of a home whose supervisor died while it was asked. Its last thread lets go of the lock.
async fn freed(home: &Home) -> Result<Option<Lock>> {
    let began = Instant::now();
    loop {
        match home.lock()? {
            None if began.elapsed() < MOMENT => tokio::time::sleep(LOOK_EVERY).await,
            lock => return Ok(lock),
        }
    }
}

/// What still runs.
fn running(home: &Home) -> String {
    let parts = State::load(home).ok().flatten().map(|state| state.parts).unwrap_or_default();
    let names: Vec<String> = parts.into_iter().filter(|part| part.process.is_some()).map(|part| part.name).collect();
    names.join(", ")
}
