//! What is measured: a stack of the benchmark's own, or one that runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::stack::Running;

/// A stack that was started for one run, and goes with it. Its figures disturb nobody's data.
pub(super) struct OwnStack {
    home: PathBuf,
}

impl OwnStack {
    /// Starts it on free ports, without the limit to one client's requests: here one client is many.
    pub(super) fn start() -> Result<Self> {
        let home = env::temp_dir().join(format!("towpath-bench-{}", Uuid::now_v7().simple()));
        let stack = Self { home };
        towpath(&stack.home, &["up", "--detach", "--ports", "auto", "--no-build"])?;
        Ok(stack)
    }

    /// Its addresses.
    pub(super) fn running(&self) -> Result<Running> {
        Running::load(&self.home)
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        let stopped = towpath(&self.home, &["down"]);
        match stopped.and_then(|()| Ok(std::fs::remove_dir_all(&self.home)?)) {
            Ok(()) => {}
            Err(cause) => eprintln!("the benchmark's stack stays in {}: {cause:#}", self.home.display()),
        }
    }
}

/// Runs this very program on the stack under `home`; what it says goes to standard error.
fn towpath(home: &Path, arguments: &[&str]) -> Result<()> {
    let program = env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--home")
        .arg(home)
        .env("SPIN_VARIABLE_RATE_LIMIT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run towpath {}", arguments[0]))?;
    if !status.success() {
        bail!("towpath {} failed: {status}; its logs are in {}", arguments[0], home.join("logs").display());
    }
    Ok(())
}
