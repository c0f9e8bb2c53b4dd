//! The state of a stack. The supervisor writes it to `run/state.json` after every change; other commands read it, and the
//! next `up` finds the processes of a killed supervisor by it.
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::home::{Home, write_atomically};
use crate::ports::Ports;
use crate::process::Identity;

/// How far the whole stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Parts are being started for the first time.
    Starting,
    /// All parts were ready once.
    Up,
    /// Parts are being stopped.
    Stopping,
    /// No part runs.
    Stopped,
}

/// How far one part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Not started, or stopped by a command.
    Stopped,
    /// It runs and doesn't answer yet.
    Starting,
    /// It answers.
    Ready,
    /// It died; the supervisor restarts it after a back-off.
    Restarting,
    /// It was asked to end.
    Stopping,
}

impl PartState {
    /// The word that `status` prints.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
        }
    }
}

/// How the servers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Servers {
    /// Debian's PostgreSQL and Redis, Apache Kafka's jars: processes on this machine.
    Native,
    /// The containers of infra/compose/compose.yaml.
    Compose,
}

/// One part of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// As every command names it, `postgres-order` for example.
    pub name: String,
    /// How far it is.
    pub state: PartState,
    /// The running process.
    pub process: Option<Identity>,
    /// Where it listens, as `127.0.0.1:5434`.
    pub address: String,
    /// How this part is asked to end.
    pub stop_signal: StopSignal,
    /// Why it isn't ready: how it died, or what it answers.
    #[serde(default)]
    pub note: Option<String>,
}

/// The signals that parts are stopped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopSignal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// To be sent with kill(2).
    #[must_use]
    pub fn signal(self) -> rustix::process::Signal {
        match self {
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
        }
    }

    /// The name that setpriv knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The whole stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// The supervisor's process.
    pub supervisor: Identity,
    /// The public addresses, one per host.
    #[serde(default)]
    pub urls: Vec<String>,
    /// How the servers run.
    pub servers: Servers,
    /// What runs spin.toml, as a word of the command line; none without a host.
    #[serde(default)]
    pub runtime: Option<String>,
    /// The file with the variables of a `spin up` that isn't this stack's part; none with a host.
    #[serde(default)]
    pub dot_env: Option<PathBuf>,
    /// The ports of all parts.
    pub ports: Ports,
    /// Where Kafka's jars are, where they are used.
    pub kafka_jars: Option<PathBuf>,
    /// All parts, in the order in which they are started.
    pub parts: Vec<PartRecord>,
}

impl State {
    /// The last state that was written; none where there never was a stack.
    pub fn load(home: &Home) -> Result<Option<Self>> {
        let file = home.state_file();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not of this version of Towpath, or damaged: remove it once nothing of the stack runs",
                file.display()
            )
        })?;
        Ok(Some(state))
    }

    /// Writes the state down.
    pub fn save(&self, home: &Home) -> Result<()> {
        write_atomically(&home.state_file(), &serde_json::to_string_pretty(self)?, 0o600)
    }

    /// The state of the stack that runs under this home.
    ///
    /// # Errors
    /// Where none runs there.
    pub fn running(home: &Home) -> Result<Self> {
        match Self::current(home)? {
            Some(state) if state.phase != Phase::Stopped => Ok(state),
            _ => bail!("no stack runs under {}: start it with `{}`", home.path().display(), home.command("up")),
        }
    }

    /// Refuses where one of these parts was stopped, and says how to start it.
    pub fn needs(&self, home: &Home, parts: &[String]) -> Result<()> {
        let stopped = |name: &&String| {
            self.parts.iter().any(|part| part.name == **name && matches!(part.state, PartState::Stopped))
        };
        let stopped: Vec<&str> = parts.iter().filter(stopped).map(String::as_str).collect();
        if stopped.is_empty() {
            return Ok(());
        }
        let are = if stopped.len() == 1 { "is" } else { "are" };
        bail!("{} {are} stopped: `{}`", stopped.join(", "), home.command(&format!("start {}", stopped.join(" "))))
    }

    /// The state as it is now: where the supervisor is gone, its word no longer counts, only its processes.
    pub fn current(home: &Home) -> Result<Option<Self>> {
        let Some(mut state) = Self::load(home)? else { return Ok(None) };
        if !state.supervisor.is_alive() {
            state.phase = Phase::Stopped;
            for part in &mut state.parts {
                part.process = part.process.take().filter(Identity::is_alive);
                part.state = PartState::Stopped;
                part.note = None;
            }
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, example, part};

    #[test]
    fn a_state_survives_its_file() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        assert_eq!(State::load(&home).unwrap(), None);
        let state = example(Identity::of_this_process().unwrap(), vec![part("redis", None)]);
        state.save(&home).unwrap();
        assert_eq!(State::current(&home).unwrap(), Some(state));
    }

    #[test]
    fn a_part_that_was_stopped_is_named_with_what_starts_it() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        let mut state = example(Identity::of_this_process().unwrap(), vec![part("redis", None), part("kafka", None)]);
        let needs = |state: &State, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            state.needs(&home, &names).map_err(|error| error.to_string())
        };
        state.parts[0].state = PartState::Ready;
        state.parts[1].state = PartState::Stopped;
        assert_eq!(needs(&state, &["redis", "elsewhere"]), Ok(()));
        let refused = needs(&state, &["redis", "kafka"]).unwrap_err();
        assert!(refused.starts_with("kafka is stopped: `./towpath start kafka --home "), "{refused}");
    }

    #[test]
    fn the_word_of_a_dead_supervisor_does_not_count() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        let me = Identity::of_this_process().unwrap();
        let gone = Identity { start_time: 1, ..me.clone() };
        example(gone.clone(), vec![part("redis", Some(gone)), part("kafka", Some(me.clone()))]).save(&home).unwrap();
        let state = State::current(&home).unwrap().unwrap();
        assert_eq!(state.phase, Phase::Stopped);
        assert_eq!(state.parts[0].process, None);
        assert_eq!(state.parts[1].process, Some(me), "a leftover is still seen");
        assert!(state.parts.iter().all(|part| part.state == PartState::Stopped));
    }
}
