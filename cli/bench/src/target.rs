//! The stack that is measured.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use toml::Table;
use towpath_stack::checkout::{self, RELAY_CONFIG};
use towpath_stack::home::Home;
use towpath_stack::running::Running;
use uuid::Uuid;

/// A stack that is started for one run, and removed after it.
pub(super) struct OwnStack {
    home: PathBuf,
    /// What runs its components, where that was asked for.
    runtime: Option<String>,
}

impl OwnStack {
    /// One that isn't started yet.
    pub(super) fn new(runtime: Option<String>) -> Self {
        Self { home: env::temp_dir().join(format!("towpath-bench-{}", Uuid::now_v7().simple())), runtime }
    }

    /// Its folder.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Starts it on free ports, with a rate limit that is asked for and that nobody reaches: here one client is many.
    /// `limits` are the relay's, where they are others than relay.toml's.
    pub(super) async fn start(&self, limits: &[(&str, i64)]) -> Result<Running> {
        let root = checkout::repository()?;
        let told = root.join("relay.toml");
        let told = fs::read_to_string(&told).with_context(|| format!("cannot read {}", told.display()))?;
        // Its paths are relative to where it lies.
        let told = told.replace("\"migrations/", &format!("\"{}/migrations/", root.display()));
        let told = with_limits(&told, limits).context("relay.toml can't be understood")?;
        fs::create_dir_all(&self.home).with_context(|| format!("cannot make {}", self.home.display()))?;
        fs::write(self.relay_config(), told).context("cannot write the relay's configuration")?;
        let up = ["up", "--detach", "--ports", "auto"].into_iter();
        let runtime = self.runtime.iter().flat_map(|runtime| ["--runtime", runtime]);
        self.towpath(&up.chain(runtime).collect::<Vec<_>>()).await?;
        Running::of(&Home::resolve(Some(&self.home))?)
    }

    /// Stops it, however far it came, and removes what it left.
    pub(super) async fn remove(self) -> Result<()> {
        if !self.home.exists() {
            return Ok(());
        }
        let stopped = self.towpath(&["down"]).await;
        let removed = fs::remove_dir_all(&self.home);
        let stays = || format!("the benchmark's stack stays in {}", self.home.display());
        stopped.with_context(stays)?;
        removed.with_context(stays)
    }

    /// Runs this very program on this stack.
    async fn towpath(&self, arguments: &[&str]) -> Result<()> {
        let program = env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(arguments).arg("--home").arg(&self.home).env("SPIN_VARIABLE_RATE_LIMIT", "1000000");
        command.env(RELAY_CONFIG, self.relay_config());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let Output { status, stderr, .. } = output.with_context(|| format!("cannot run towpath {}", arguments[0]))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr);
            bail!("towpath {} failed ({status}), logs in {}:\n{said}", arguments[0], self.logs().display());
        }
        Ok(())
    }

    fn relay_config(&self) -> PathBuf {
        self.home.join("relay.toml")
    }

    fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }
}

/// The relay's configuration with these limits, whatever limits it has.
fn with_limits(told: &str, limits: &[(&str, i64)]) -> Result<String> {
    let mut told: Table = told.parse()?;
    let section = told.entry("limits").or_insert_with(|| Table::new().into());
    let section = section.as_table_mut().context("`limits` is no table")?;
    section.extend(limits.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    Ok(toml::to_string(&told)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_join_those_that_are_there() {
        let told = |text: &str| with_limits(text, &[("a_ms", 1)]).unwrap().parse::<Table>().unwrap();
        let limits = told("[limits]\na_ms = 5\nb_ms = 2\n")["limits"].clone();
        assert_eq!((limits["a_ms"].as_integer(), limits["b_ms"].as_integer()), (Some(1), Some(2)));
        assert_eq!(told("[kafka]\n")["limits"]["a_ms"].as_integer(), Some(1));
    }

    #[test]
    fn the_relays_configuration_takes_limits() {
        let told = checkout::repository().map(|root| fs::read_to_string(root.join("relay.toml")));
        let told = told.unwrap().unwrap();
        assert!(with_limits(&told, &[("purge_every_ms", 100)]).is_ok_and(|told| told.contains("purge_every_ms = 100")));
    }
}
