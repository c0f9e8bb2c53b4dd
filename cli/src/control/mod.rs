//! How other `towpath` commands talk to the supervisor: one JSON line each way over a unix socket in the home's `run`
//! folder, which only this user can enter. A detour holds for as long as its connection stands, so that it ends with
//! whoever asked for it, however that ends.
mod client;
mod detour;
mod server;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::supervisor::detour::Environments;

pub(crate) use self::client::ask;
pub(crate) use self::detour::{Detour, detour};
pub(crate) use self::server::Server;

/// What can be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Stop this part and leave it stopped.
    Stop { part: String },
    /// Start this part and wait until it is ready.
    Start { part: String },
    /// Both.
    Restart { part: String },
    /// Start these parts again with variables over their own, until the connection ends. Its end is answered too.
    Detour { environment: Environments },
    /// Stop everything and end.
    Down,
}

/// What it answers: a line for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done(String),
    Failed(String),
}

impl Request {
    fn line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

impl Answer {
    /// What a line of the supervisor says; an empty one says that there is none any more.
    fn read(line: &str) -> Result<String> {
        match serde_json::from_str(line).context("the supervisor ended before it answered")? {
            Self::Done(text) => Ok(text),
            Self::Failed(text) => bail!(text),
        }
    }
}

const UNHEARD: &str = "the supervisor doesn't listen yet or any more: try again in a moment";

/// Where a client reaches the socket: as [`socket`], where a supervisor runs.
fn socket_of_running(home: &Home) -> Result<(File, PathBuf)> {
    if !home.is_held()? {
        bail!("no stack runs under {}: start it with `towpath up`", home.path().display());
    }
    socket(home)
}

/// The socket's path. The path of a unix socket may have 107 bytes at most and homes may lie deep, so it is reached through
/// the open folder, which must stay open meanwhile.
fn socket(home: &Home) -> Result<(File, PathBuf)> {
    let run = home.run();
    let folder = File::open(&run).with_context(|| format!("cannot open {}", run.display()))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    Ok((folder, path))
}
