//! A stack of a test's own: for what kills parts or needs another configuration.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use crate::Stack;

/// A stack that this test started through the `towpath` command, and that goes when it is dropped.
#[derive(Debug)]
pub struct OwnStack {
    /// How to reach it.
    pub stack: Stack,
}

/// The command that starts stacks: the one that runs these tests, or the one built beside them.
fn towpath() -> PathBuf {
    env::var_os("TOWPATH_TEST_CLI")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/towpath"), PathBuf::from)
}

impl OwnStack {
    /// Starts a stack on free ports and data folders of its own, with these variables in its environment.
    ///
    /// # Panics
    /// Where it doesn't start.
    #[must_use]
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_with(&[], variables)
    }

    /// The same, with further arguments of `up`, such as `--replicas`.
    ///
    /// # Panics
    /// Where it doesn't start.
    #[must_use]
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let home = env::temp_dir().join(format!("towpath-test-{}", Uuid::new_v4().simple()));
        let mut own = Self { stack: Stack { home, url: String::new() } };
        own.up(arguments, variables);
        own
    }

    /// Starts it once more, after `towpath down`, with what it had.
    ///
    /// # Panics
    /// Where it doesn't start.
    #[must_use]
    pub fn start_again(mut self) -> Self {
        self.up(&[], &[]);
        self
    }

    fn up(&mut self, arguments: &[&str], variables: &[(&str, &str)]) {
        let mut up = self.command(&["up", "--detach", "--ports", "auto", "--no-build"]);
        up.args(arguments).envs(variables.iter().copied());
        run(up);
        self.stack.url = self.stack.running().url.clone();
    }

    /// Runs `towpath ARGUMENTS` on this stack.
    ///
    /// # Panics
    /// Where it fails.
    pub fn towpath(&self, arguments: &[&str]) {
        run(self.command(arguments));
    }

    /// The same for a thread of its own, while the stack is in use.
    ///
    /// # Panics
    /// Where it fails.
    pub fn towpath_meanwhile(&self, arguments: &[&str]) -> std::thread::JoinHandle<()> {
        let command = self.command(arguments);
        std::thread::spawn(move || run(command))
    }

    /// The process id that a part has now, where it runs.
    #[must_use]
    pub fn pid(&self, part: &str) -> Option<u32> {
        self.stack.running().parts.iter().find(|known| known.name == part).and_then(|part| part.pid)
    }

    /// Kills a part as a fault would: at once, without a word. Returns the process id that it had.
    ///
    /// # Panics
    /// Where the part doesn't run.
    pub fn kill(&self, part: &str) -> u32 {
        self.signal(part, Signal::KILL)
    }

    /// Sends a signal to a part. Returns its process id.
    ///
    /// # Panics
    /// Where the part doesn't run.
    pub fn signal(&self, part: &str, signal: Signal) -> u32 {
        let pid = self.pid(part).unwrap_or_else(|| panic!("{part} doesn't run"));
        let process = Pid::from_raw(pid.cast_signed()).expect("a process id");
        kill_process(process, signal).expect("the part runs");
        pid
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(towpath());
        command.args(arguments).arg("--home").arg(&self.stack.home);
        command
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        let stopped = self.command(&["down"]).output();
        if std::thread::panicking() {
            eprintln!("the stack's logs stay in {}", self.stack.home.join("logs").display());
        } else {
            stopped.expect("the stack stops");
            std::fs::remove_dir_all(&self.stack.home).expect("the stack's folder goes");
        }
    }
}

fn run(mut command: Command) {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success(), "{command:?}: {status}\n{said}");
}
