//! Spin's command line, for stacks whose components run on Spin.
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::checkout;
use towpath_stack::programs::in_path;

use crate::group;
use crate::supervisor::spec::Launch;

/// The first version (major, minor) that runs components of WASI 0.3.0.
const MIN_SPIN: (u32, u32) = (4, 1);
/// It prints a line, and may wait for a cold disk.
const VERSION_PATIENCE: Duration = Duration::from_secs(20);

/// Looks for a Spin that can run spin.toml. The error says what is there, what is needed, and how to do without.
pub(crate) async fn check() -> Result<()> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null());
    let said = tokio::time::timeout(VERSION_PATIENCE, group::output(&mut command)).await;
    let program = program.display();
    let said = match said {
        Ok(output) => output.with_context(|| format!("cannot run {program}"))?,
        Err(_) => bail!("`{program} --version` says nothing within {} s: {}", VERSION_PATIENCE.as_secs(), way_out()),
    };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = said.lines().next().unwrap_or_default();
    match version(line) {
        Some((major, minor, _)) if (major, minor) >= MIN_SPIN => Ok(()),
        Some((.., found)) => bail!("{program} is Spin {found}, and the components need WASI 0.3.0: {}", way_out()),
        None => bail!("`{program} --version` says {line:?}, which is no version of Spin: {}", way_out()),
    }
}

/// `spin up`, listening there.
pub(crate) fn up(manifest: OsString, address: &str) -> Result<Launch> {
    let launch = Launch::new(program()?).args(["up".into(), "--file".into(), manifest]).args(["--listen", address]);
    // Spin takes it from the environment too.
    if std::env::var_os("RUNTIME_CONFIG_FILE").is_some() {
        return Ok(launch);
    }
    Ok(launch.args([PathBuf::from("--runtime-config-file"), checkout::repository()?.join("infra/spin/runtime.toml")]))
}

fn program() -> Result<PathBuf> {
    in_path("spin").with_context(|| format!("`spin` is not in PATH: {}", way_out()))
}

fn way_out() -> String {
    let (major, minor) = MIN_SPIN;
    format!(
        "install Spin {major}.{minor} or newer (https://spinframework.dev, or \
         https://github.com/spinframework/spin/releases), or leave out --runtime spin to use the embedded host"
    )
}

/// Major, minor, and the whole: of "spin 4.1.0-pre0 (94a8fc8a 2026-08-21)".
fn version(line: &str) -> Option<(u32, u32, &str)> {
    let whole = line.strip_prefix("spin ")?.split_whitespace().next()?;
    let mut numbers = whole.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_spin_says() {
        assert_eq!(version("spin 4.1.0-pre0 (94a8fc8a 2026-08-21)"), Some((4, 1, "4.1.0-pre0")));
        assert_eq!(version("spin 3.6.2 (e1b1c1f 2026-02-01)"), Some((3, 6, "3.6.2")));
        assert_eq!(version("spin 10.0.0"), Some((10, 0, "10.0.0")));
        // SPIN, the model checker, has a program of this name too.
        assert_eq!(version("Spin Version 6.5.2 -- 6 December 2019"), None);
        assert_eq!(version(""), None);
    }
}
