//! Schemathesis, which tests an HTTP interface by its description. It is a Python program, and installed from PyPI once.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// The program, installed where it isn't there.
pub(super) async fn program(root: &Path) -> Result<PathBuf> {
    let mut tools = Command::new(root.join(".ci/tools"));
    tools.arg("schemathesis").stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = tools.output().await.context("cannot run .ci/tools, which installs Schemathesis")?;
    if !output.status.success() {
        bail!(".ci/tools could not install Schemathesis ({}): see above", output.status);
    }
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("schemathesis"))
}
