//! `towpath rotate-tokens`: new tokens between relay and components, without a request that is refused for it.
//!
//! Three steps, and after each the pairs of relay and host restart one after the other. First every side that checks a token
//! accepts the new one beside the old one; then every side that shows one shows the new one; then the old one is accepted no
//! more. At every moment, also where a part dies and starts by itself, whatever is shown is accepted. A rotation that is broken
//! off is finished by the next call: `secrets.env` says how far it is.
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use towpath_stack::control::{Request, ask_telling};
use towpath_stack::home::Home;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::{Phase, State};
use towpath_stack::terminal::say;

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
    let pairs = pairs(home)?;
    if pairs.len() == 1 {
        say("There is one pair of relay and host: requests are refused while it restarts (see `up --replicas`).");
    }
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

/// A relay and its host.
struct Pair {
    relay: String,
    host: String,
}

fn pairs(home: &Home) -> Result<Vec<Pair>> {
    let state = match State::current(home)? {
        Some(state) if state.phase == Phase::Up => state,
        _ => bail!("no stack is up under {}: start it with `{}`", home.path().display(), home.command("up")),
    };
    let names: Vec<&str> = state.parts.iter().map(|part| part.name.as_str()).collect();
    let relays = names.iter().filter(|name| **name == "relay" || name.starts_with("relay-"));
    let pairs = relays.map(|relay| {
        let host = relay.replacen("relay", "host", 1);
        ensure!(
            names.contains(&&*host),
            "this stack has no host of its own (`up --no-host`): SECURITY.md has the steps for your `spin up`"
        );
        Ok(Pair { relay: (*relay).to_owned(), host })
    });
    pairs.collect()
}

/// Writes the tokens down and has every pair read them, one after the other. A host is away while its relay restarts: nobody
/// meets a host that can't do anything.
fn step(home: &Home, secrets: &Secrets, pairs: &[Pair], what: &str) -> Result<()> {
    secrets.save(home)?;
    let ask = |request| ask_telling(home, &request, |what| say(&format!("Waiting: {what}")));
    for Pair { relay, host } in pairs {
        ask(Request::Stop { part: host.clone() })?;
        ask(Request::Restart { part: relay.clone() })?;
        ask(Request::Start { part: host.clone() })?;
    }
    say(what);
    Ok(())
}
