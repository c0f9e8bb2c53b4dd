//! How other `towpath` commands talk to the supervisor: one JSON line each way over a unix socket in the home's `run`
//! folder, which only this user can enter.
mod client;
mod server;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::home::Home;

pub(crate) use self::client::ask;
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

/// The socket's path. The path of a unix socket may have 107 bytes at most and homes may lie deep, so it is reached through
/// the open folder, which must stay open meanwhile.
fn socket(home: &Home) -> Result<(File, PathBuf)> {
    let run = home.run();
    let folder = File::open(&run).with_context(|| format!("cannot open {}", run.display()))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", folder.as_raw_fd()));
    Ok((folder, path))
}
