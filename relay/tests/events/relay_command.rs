//! The relay's program, as a person uses it.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::support::Setup;

/// A command of the relay's program, with the relay.toml of a setup.
pub(crate) struct RelayCommand {
    name: &'static str,
    config: PathBuf,
}

impl RelayCommand {
    /// `towpath-relay NAME ...`
    pub(crate) fn new(setup: &Setup, name: &'static str) -> Self {
        Self::with(setup, name, &setup.text(name))
    }

    /// The same, with this relay.toml.
    pub(crate) fn with(setup: &Setup, name: &'static str, text: &str) -> Self {
        let config = std::env::temp_dir().join(format!("{}-{name}.toml", setup.id));
        std::fs::write(&config, text).expect("writes");
        Self { name, config }
    }

    /// Exit status, stdout, stderr.
    pub(crate) async fn run(&self, arguments: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towpath-relay"));
        command.arg("--config").arg(&self.config).arg(self.name).args(arguments.split_whitespace());
        let Output { status, stdout, stderr } = command.output().await.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code(), text(stdout), text(stderr))
    }

    /// What it prints, where all goes well.
    pub(crate) async fn says(&self, arguments: &str) -> String {
        let (status, stdout, stderr) = self.run(arguments).await;
        assert_eq!(status, Some(0), "{arguments}: {stdout}{stderr}");
        stdout
    }

    /// What it prints with `--json`, line by line.
    pub(crate) async fn json(&self, arguments: &str) -> Vec<Value> {
        let text = self.says(&format!("{arguments} --json")).await;
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What it complains of.
    pub(crate) async fn refuses(&self, arguments: &str, status: i32, said: &[&str]) {
        let (found, stdout, stderr) = self.run(arguments).await;
        assert_eq!(found, Some(status), "{arguments}: {stdout}{stderr}");
        assert!(said.iter().all(|part| stderr.contains(part)), "{arguments}: {stderr}");
    }
}

impl Drop for RelayCommand {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}
