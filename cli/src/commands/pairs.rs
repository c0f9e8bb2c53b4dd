//! The pairs of relay and host of a running stack, for what restarts them one after the other.
use anyhow::{Result, ensure};
use towpath_stack::control::{Request, ask_telling};
use towpath_stack::home::Home;
use towpath_stack::state::{Phase, State};
use towpath_stack::terminal::say;

/// All of them.
pub(crate) struct Pairs(Vec<Pair>);

struct Pair {
    relay: String,
    host: String,
}

impl Pairs {
    /// Those of a stack that is up. Where one pair is all there is, it says what that means.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let state = State::running(home)?;
        ensure!(
            state.phase == Phase::Up,
            "the stack under {} isn't up yet, or is being stopped: `{}` shows how far it is",
            home.path().display(),
            home.command("status")
        );
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
        let pairs: Vec<Pair> = pairs.collect::<Result<_>>()?;
        if pairs.len() == 1 {
            say("There is one pair of relay and host: requests are refused while it restarts (see `up --replicas`).");
        }
        Ok(Self(pairs))
    }

    /// Restarts every pair, one after the other, so that all read the secrets that are written down now. A host is away while its
    /// relay restarts: nobody meets a host that can't do anything.
    pub(crate) fn restart(&self, home: &Home) -> Result<()> {
        let ask = |request| ask_telling(home, &request, |what| say(&format!("Waiting: {what}")));
        for Pair { relay, host } in &self.0 {
            ask(Request::Stop { part: host.clone() })?;
            ask(Request::Restart { part: relay.clone() })?;
            ask(Request::Start { part: host.clone() })?;
        }
        Ok(())
    }
}
