//! A pseudo-terminal with somebody at it: sees what is on the screen, and presses keys.
#![allow(dead_code, reason = "each test program uses its part of it")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::{Home, repository};

/// Ctrl-C, as a terminal sends it.
pub(crate) const CTRL_C: &str = "\u{3}";

/// Where the screen has stayed the same for so long, the test fails instead of waiting for ever.
const SILENCE: Duration = Duration::from_secs(300);

/// util-linux's `script`, which gives the command a pseudo-terminal.
pub(crate) struct Terminal {
    script: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    /// Runs `towpath LINE` on a terminal with so many lines and columns.
    pub(crate) fn run(home: &Home, line: &str, (rows, columns): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let towpath = env!("CARGO_BIN_EXE_towpath");
        let mut script = Command::new("script");
        let line = format!("stty rows {rows} cols {columns}; exec '{towpath}' {line}");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script.env("SHELL", "/bin/sh").env("TERM", "xterm").env("TOWPATH_HOME", home.path());
        script.env("TOWPATH_ROOT", repository()).env_remove("TOWPATH_STEPS").env_remove("TOWPATH_COMMAND");
        script.env_remove("NO_COLOR").envs(variables.iter().copied());
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { script, keys, output, screen: vt100::Parser::new(rows, columns, 0), raw: Vec::new() }
    }

    /// What is on the screen now.
    pub(crate) fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    /// Looks at the screen until this is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(self.look(), "it ended, and this was never on the screen: {what}\n{screen}");
        }
    }

    /// Looks until this is on the screen.
    pub(crate) fn until_said(&mut self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the command's end: its exit status, the last screen, and all that was written to the terminal.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        while self.look() {}
        let status = self.script.wait().unwrap();
        (status.code(), self.screen(), String::from_utf8(std::mem::take(&mut self.raw)).unwrap())
    }

    /// Waits for more; false where the command has ended.
    fn look(&mut self) -> bool {
        let bytes = match self.output.recv_timeout(SILENCE) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing is written any more:\n{}", self.screen()),
        };
        self.screen.process(&bytes);
        self.raw.extend(bytes);
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
