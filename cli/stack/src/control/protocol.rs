//! The lines that go over the socket, and where the socket is.
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::home::Home;

/// By part: variables with their values.
pub type Environments = BTreeMap<String, BTreeMap<String, String>>;

/// The supervisor reads no longer request. The longest is a detour of all relays and hosts, a dozen addresses each.
pub const MAX_REQUEST_BYTES: u64 = 128 * 1024;

/// A supervisor that is at work on a request says so this often.
pub const WORKING_EVERY: Duration = Duration::from_secs(1);

/// What can be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Stop this part and leave it stopped.
    Stop {
        /// The part's name.
        part: String,
    },
    /// Start this part and wait until it is ready.
    Start {
        /// The part's name.
        part: String,
    },
    /// Stop this part, start it again and wait until it is ready.
    Restart {
        /// The part's name.
        part: String,
    },
    /// Start these parts again with variables over their own, until the connection ends. Its end is answered too.
    Detour {
        /// The variables of each part.
        environment: Environments,
    },
    /// Stop everything and end.
    Down,
}

/// What it answers: lines for a person, the last of which says what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is at work: on what.
    Working(String),
    /// It is done.
    Done(String),
    /// It is not done, and why.
    Failed(String),
}

impl Request {
    /// As it goes over the socket.
    pub(super) fn line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

impl Answer {
    /// What a line of the supervisor says; an empty one says that there is none any more.
    pub(super) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).ok().context("the supervisor ended before it answered")
    }

    /// What came of it, as the last line says.
    pub(super) fn outcome(self) -> Result<String> {
        match self {
            Self::Done(text) | Self::Working(text) => Ok(text),
            Self::Failed(text) => bail!(text),
        }
    }
}

pub(super) const UNHEARD: &str = "the supervisor doesn't listen yet or any more: try again in a moment";

/// Where a client reaches the socket: as [`socket`], where a supervisor runs.
pub(super) fn socket_of_running(home: &Home) -> Result<(File, PathBuf)> {
    if !home.is_held()? {
        bail!("no stack runs under {}: start it with `{}`", home.path().display(), home.command("up"));
    }
    socket(home)
}

/// The socket's path. The path of a unix socket may have 107 bytes at most and homes may lie deep, so it is reached through
/// the open folder, which must stay open meanwhile.
pub fn socket(home: &Home) -> Result<(File, PathBuf)> {
    let run = home.run();
    let folder = File::open(&run).with_context(|| format!("cannot open {}", run.display()))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    Ok((folder, path))
}
