//! Runs cargo, and reads its output.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use towpath_stack::state::StopSignal;
use towpath_stack::terminal::print;

use super::choice::Choice;
use super::tally::Tally;
use super::threads;
use crate::edge::binary;
use crate::group::{self, Group};
use crate::supervisor::spec::Launch;

/// One `cargo test`.
#[derive(Debug)]
pub(super) struct Run {
    /// Before `--`.
    cargo: Vec<String>,
    /// `--` and what follows.
    tests: Vec<String>,
}

impl Run {
    /// `tests`: what the test programs are told beside the names of the chosen tests.
    pub(super) fn new(choice: &Choice, tests: &[String]) -> Self {
        let cargo = ["test", "--release", "--no-fail-fast"].into_iter().map(ToOwned::to_owned);
        let names = choice.names.iter().chain(tests).cloned();
        Self {
            cargo: cargo.chain(threads::config(&choice.threads)).chain(choice.cargo.iter().cloned()).collect(),
            tests: std::iter::once("--".to_owned()).chain(names).collect(),
        }
    }

    /// Builds the tests, so that no server waits for a compiler.
    pub(super) async fn build(&self, root: &Path) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(&self.cargo).arg("--no-run").current_dir(root).stdin(Stdio::null());
        let status = group::status(&mut cargo).await.context("cannot run cargo: is rustup's folder in PATH?")?;
        if !status.success() {
            bail!("the tests don't build ({status}): see above");
        }
        Ok(())
    }

    /// Runs them, passing on what they say.
    pub(super) async fn run(&self, root: &Path, environment: &BTreeMap<String, String>) -> Result<Tally> {
        let mut launch = Launch::new("cargo").args(self.cargo.clone()).args(self.tests.clone());
        launch.environment = environment.clone();
        launch.folder = Some(root.to_path_buf());
        let mut child = launch.command(StopSignal::Terminate).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("cargo has no output")?;
        // The tests belong to cargo's process group: where this run is given up, all of it ends.
        let group = Group::of(&child);
        let mut tally = Tally::default();
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            tally.take(&line);
            print(&line)?;
        }
        tally.end(child.wait().await?.success());
        group.ended();
        Ok(tally)
    }
}

/// The audit of the stack that the tests have shared.
pub(super) async fn audit(stack: &Path) -> Result<()> {
    let mut audit = Command::new(binary("towpath")?);
    audit.args(["audit", "--settle", "60", "--home"]).arg(stack).stdin(Stdio::null());
    let status = group::status(&mut audit).await?;
    if !status.success() {
        bail!("the tests passed, but the audit of their stack did not ({status}): see above");
    }
    Ok(())
}
