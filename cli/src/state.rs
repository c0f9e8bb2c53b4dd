//! What a supervisor writes down about its stack, after every change: `run/state.json`. Other commands read it, and the
//! next `up` proves with it which processes are leftovers of its own.
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::home::{Home, write_atomically};
use crate::ports::Ports;
use crate::process::Identity;

/// How far the whole stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Starting,
    Up,
    Stopping,
    Stopped,
}

/// How far one part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartState {
    /// Not started, or stopped because somebody asked for it.
    Stopped,
    /// It runs and doesn't answer yet.
    Starting,
    /// It answers.
    Ready,
    /// It died and is started again after a pause.
    Restarting,
    /// It was asked to end.
    Stopping,
}

impl PartState {
    /// The word that `status` prints.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
        }
    }
}

/// Who runs the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Servers {
    /// Debian's PostgreSQL and Redis, Apache Kafka's jars: processes on this machine.
    Native,
    /// The containers of infra/compose/compose.yaml.
    Compose,
}

/// One part of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) name: String,
    pub(crate) state: PartState,
    /// The running process.
    pub(crate) process: Option<Identity>,
    pub(crate) address: String,
    /// How this part is asked to end.
    pub(crate) stop_signal: StopSignal,
}

/// The signals that parts are stopped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopSignal {
    Interrupt,
    Terminate,
}

impl StopSignal {
    pub(crate) fn signal(self) -> rustix::process::Signal {
        match self {
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
        }
    }

    /// The name that setpriv knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The whole stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) supervisor: Identity,
    /// The public addresses, one per host.
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    pub(crate) servers: Servers,
    pub(crate) ports: Ports,
    /// Where Kafka's jars are, where they are used.
    pub(crate) kafka_jars: Option<PathBuf>,
    pub(crate) parts: Vec<PartRecord>,
}

impl State {
    /// The last state that was written; none where there never was a stack.
    pub(crate) fn load(home: &Home) -> Result<Option<Self>> {
        let file = home.state_file();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let state = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: remove it once nothing of the stack runs", file.display()))?;
        Ok(Some(state))
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        write_atomically(&home.state_file(), &serde_json::to_string_pretty(self)?, 0o600)
    }

    /// The state as it is now: where the supervisor is gone, its word no longer counts, only its processes.
    pub(crate) fn current(home: &Home) -> Result<Option<Self>> {
        let Some(mut state) = Self::load(home)? else { return Ok(None) };
        if !state.supervisor.is_alive() {
            state.phase = Phase::Stopped;
            for part in &mut state.parts {
                part.process = part.process.take().filter(Identity::is_alive);
                part.state = PartState::Stopped;
            }
        }
        Ok(Some(state))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::TempDir;

    pub(crate) fn example(supervisor: Identity, parts: Vec<PartRecord>) -> State {
        State {
            phase: Phase::Up,
            supervisor,
            urls: vec!["http://127.0.0.1:3000".to_owned()],
            servers: Servers::Native,
            ports: Ports::defaults(1),
            kafka_jars: None,
            parts,
        }
    }

    pub(crate) fn part(name: &str, process: Option<Identity>) -> PartRecord {
        PartRecord {
            name: name.to_owned(),
            state: PartState::Ready,
            process,
            address: "127.0.0.1:1".to_owned(),
            stop_signal: StopSignal::Terminate,
        }
    }

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
