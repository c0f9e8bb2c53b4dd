//! `towpath rotate-tokens`: new tokens between relay and components, without a request that is refused for it.
//!
//! Three steps, and after each the pairs of relay and host restart one after the other. First every side that checks a token
//! accepts the new one beside the old one; then every side that shows one shows the new one; then the old one is accepted no
//! more. At every moment, also where a part dies and starts by itself, whatever is shown is accepted. A rotation that is broken
//! off is finished by the next call: `secrets.env` says how far it is.
use std::process::ExitCode;

use anyhow::{Result, ensure};
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::terminal::say;

use super::pairs::Pairs;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath rotate-tokens                  new tokens for every service
  towpath rotate-tokens order            for this service alone
The pairs of relay and host restart one after the other, three times: with `up --replicas 2` one of them always answers.
Where it was broken off, call it again: it goes on")]
pub(crate) struct Args {
    /// The services [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let services = Services::load()?;
    let of = |known: Vec<&str>| -> Vec<String> {
        let chosen = |name: &&str| args.services.is_empty() || args.services.iter().any(|service| service == name);
        known.into_iter().filter(chosen).map(str::to_owned).collect()
    };
    let (callers, receivers) = (of(services.callers().collect()), of(services.receivers().collect()));
    for service in &args.services {
        let known: Vec<&str> = services.callers().collect();
        ensure!(callers.contains(service), "no service is called {service}: the services are {}", known.join(", "));
    }
    let pairs = Pairs::of(home)?;
    let mut secrets = Secrets::load(home)?;
    if secrets.has_previous_tokens() {
        say("Finishing the rotation that was broken off; call this again for another one.");
    } else {
        secrets.announce_tokens(callers.iter().map(String::as_str), receivers.iter().map(String::as_str));
        step(home, &secrets, &pairs, "1 of 3: the new tokens are accepted beside the old ones")?;
        secrets.switch_tokens();
    }
    step(home, &secrets, &pairs, "2 of 3: the new tokens are shown")?;
    secrets.retire_tokens();
    step(home, &secrets, &pairs, "3 of 3: the old tokens are accepted no more")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the tokens down and has every pair read them.
fn step(home: &Home, secrets: &Secrets, pairs: &Pairs, what: &str) -> Result<()> {
    secrets.save(home)?;
    pairs.restart(home)?;
    say(what);
    Ok(())
}
