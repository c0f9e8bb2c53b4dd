//! PostgreSQL, Kafka and Redis as parts: native processes, or the containers of infra/compose.
pub(crate) mod compose;
pub(crate) mod kafka;
pub(crate) mod kafka_jars;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::path::PathBuf;

use anyhow::{Result, bail};
use towpath_stack::home::Home;

use crate::supervisor::spec::Launch;

/// What all servers of one stack share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) home: Home,
    /// The checkout's folder with the configuration files.
    pub(crate) native: PathBuf,
    /// Servers of a test: their data is thrown away, so they needn't wait for the disk.
    pub(crate) throw_away: bool,
}

/// Runs one command to its end; the error has its last lines.
pub(crate) async fn run(launch: &Launch) -> Result<String> {
    let mut command = launch.command(towpath_stack::state::StopSignal::Terminate);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("\n    ");
    bail!("{} failed ({}):\n    {last}", launch.program.to_string_lossy(), output.status)
}
