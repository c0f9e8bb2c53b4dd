//! Runs cargo, and reads its output.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use towpath_stack::state::StopSignal;
use towpath_stack::terminal::print;

use super::tally::Tally;
use crate::edge::binary;
use crate::supervisor::spec::Launch;

/// The package of the tests that need a whole stack.
const BLACK_BOX: &str = "towpath-tests";

/// One `cargo test`.
#[derive(Debug)]
pub(super) struct Run {
    /// Before `--`.
    cargo: Vec<String>,
    /// `--` and what follows.
    tests: Vec<String>,
}

impl Run {
    pub(super) fn new(arguments: &[String]) -> Self {
        let split = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
        let (given, tests) = arguments.split_at(split);
        let mut cargo: Vec<String> = ["test", "--release", "--no-fail-fast"].map(ToOwned::to_owned).to_vec();
        if packages(given).is_empty() {
            cargo.push("--workspace".to_owned());
        }
        cargo.extend(given.iter().cloned());
        Self { cargo, tests: tests.to_vec() }
    }

    /// Whether the tests that need a whole stack are among the chosen ones.
    pub(super) fn wants_stack(&self) -> bool {
        let packages = packages(&self.cargo);
        packages.iter().any(|package| matches!(*package, "--workspace" | "--all" | BLACK_BOX))
    }

    /// Builds the tests, so that no server waits for a compiler.
    pub(super) async fn build(&self, root: &Path) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(&self.cargo).arg("--no-run").current_dir(root).stdin(Stdio::null()).kill_on_drop(true);
        let status = cargo.status().await.context("cannot run cargo: is rustup's folder in PATH?")?;
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
        let _group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
        let mut tally = Tally::default();
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            tally.take(&line);
            print(&line)?;
        }
        tally.end(child.wait().await?.success());
        Ok(tally)
    }
}

/// The audit of the stack that the tests have shared.
pub(super) async fn audit(stack: &Path) -> Result<()> {
    let mut audit = Command::new(binary("towpath")?);
    audit.args(["audit", "--settle", "60", "--home"]).arg(stack).stdin(Stdio::null()).kill_on_drop(true);
    let status = audit.status().await?;
    if !status.success() {
        bail!("the tests passed, but the audit of their stack did not ({status}): see above");
    }
    Ok(())
}

/// Kills a process group when it is dropped. After an orderly end the group is empty.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The packages that these arguments choose.
fn packages(arguments: &[String]) -> Vec<&str> {
    let mut packages = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-p" | "--package" => packages.extend(arguments.next()),
            "--workspace" | "--all" => packages.push(argument),
            _ => {
                let joined = argument.strip_prefix("--package=").or_else(|| argument.strip_prefix("-p"));
                packages.extend(joined);
            }
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Run {
        Run::new(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_package_it_is_the_workspace_and_needs_a_stack() {
        let all = run(&["--", "--nocapture"]);
        assert_eq!(all.cargo, ["test", "--release", "--no-fail-fast", "--workspace"]);
        assert_eq!(all.tests, ["--", "--nocapture"]);
        assert!(all.wants_stack());
        assert!(run(&["a_filter"]).wants_stack());
    }

    #[test]
    fn only_the_black_box_needs_a_stack() {
        let relay = run(&["-p", "towpath-relay", "outbox"]);
        assert_eq!(relay.cargo[3..], ["-p", "towpath-relay", "outbox"]);
        assert!(!relay.wants_stack());
        for chosen in [&["-p", BLACK_BOX][..], &["-ptowpath-tests"], &["--package=towpath-tests"], &["--workspace"]] {
            assert!(run(chosen).wants_stack(), "{chosen:?}");
        }
    }
}
