//! Runs the command as a person would, on a home that goes with the test.
#![allow(dead_code, reason = "each test program uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

pub(crate) mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run of the command came to.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Fails unless it ended like this and said all of that on stderr.
    pub(crate) fn expect(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for part in said {
            assert!(self.stderr.contains(part), "not said: {part}\n{}", self.stderr);
        }
        self
    }
}

/// What every home of these tests has in its path: what some file, list, pattern or shell takes for something else.
const HARD: &str = r#" ü, "q" 'x' \ # $HOME [z]? %41 {id} &; = -"#;
/// Longer than the path of a unix socket may be.
const LONG: usize = 200;

/// A folder for one stack.
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        let mut name = format!("towpath-cli-{}{HARD}", uuid::Uuid::now_v7().simple());
        while name.len() < LONG {
            name.push('x');
        }
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The command with these arguments, not run yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
        command.arg("--home").arg(&self.folder).args(arguments).stdin(Stdio::null());
        // The target folder may lie in another checkout.
        command.env("TOWPATH_ROOT", repository()).env_remove("TOWPATH_STEPS").env_remove("TOWPATH_COMMAND");
        command
    }

    pub(crate) fn towpath(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// The process of a part, as `status --json` has it.
    pub(crate) fn pid(&self, part: &str) -> Option<i64> {
        let status = self.towpath(&["status", "--json"]).json();
        let parts = status["parts"].as_array().unwrap();
        parts.iter().find(|found| found["name"] == part).unwrap_or_else(|| panic!("no {part}"))["pid"].as_i64()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = self.command(&["reset", "--yes"]).output();
        if std::thread::panicking() {
            eprintln!("the end of the stack: {stopped:?}");
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// The checkout.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
