//! `up --detach`: runs the same program in a session of its own, and passes its messages on until everything is ready.
//!
//! The child says that it is ready with a line on its stdout, a pipe without other use: s6's readiness notification
//! (<https://skarnet.org/software/s6/notifywhenup.html>). It has written its messages to its log before that line.
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use towpath_stack::home::{Home, Lock};
use towpath_stack::signals::Signals;
use towpath_stack::terminal::say;

use super::args::Args;
use crate::commands::INTERRUPTED;
use crate::progress::Progress;
use crate::supervisor::logs::append;

/// How often the log is read for new messages.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts it, hands the lock over to it, and waits until it is ready, has failed, or the user has had enough.
pub(super) async fn start(
    args: &Args,
    home: &Home,
    lock: Lock,
    mut signals: Signals,
    progress: &Progress,
) -> Result<ExitCode> {
    let log = home.log("up");
    let file = append(&log)?;
    // A handle of its own to read by: a shared one would share the position.
    let mut messages = std::fs::File::open(&log)?;
    messages.seek(SeekFrom::End(0))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments(args))
        .arg("--home")
        .arg(home.path())
        .env_remove("TOWPATH_STEPS")
        .stdin(lock.hand_over())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .context("cannot start the supervisor")?;
    let mut readiness = child.stdout.take().context("the supervisor has no stdout")?;
    let mut line = [0];
    loop {
        pass_on(&mut messages)?;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            read = readiness.read(&mut line) => {
                if read? > 0 {
                    pass_on(&mut messages)?;
                    progress.summary().iter().for_each(|line| say(line));
                    return Ok(ExitCode::SUCCESS);
                }
                let status = child.wait().await?;
                // It has said why.
                pass_on(&mut messages)?;
                return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
            }
            () = signals.next() => {
                if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                    let _ = kill_process(pid, Signal::TERM);
                }
                child.wait().await?;
                pass_on(&mut messages)?;
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    }
}

/// Says, in the background, that everything is ready.
pub(super) fn tell_ready() {
    // The program that started this one may have ended meanwhile; the stack stays.
    let _ = writeln!(std::io::stdout().lock());
}

fn pass_on(messages: &mut std::fs::File) -> Result<()> {
    let mut text = Vec::new();
    messages.read_to_end(&mut text)?;
    let _ = std::io::stderr().lock().write_all(&text);
    Ok(())
}

/// The same choices; what is built is built already.
fn arguments(args: &Args) -> Vec<String> {
    let mut arguments: Vec<String> = ["up", "--in-background"].map(ToOwned::to_owned).to_vec();
    let mut add = |argument: &str, value: String| arguments.extend([argument.to_owned(), value]);
    if let Some(runtime) = args.runtime {
        add("--runtime", runtime.word().to_owned());
    }
    if let Some(servers) = &args.servers {
        add("--servers", value_name(servers));
    }
    if let Some(replicas) = args.replicas {
        add("--replicas", replicas.to_string());
    }
    if let Some(ports) = &args.ports {
        add("--ports", value_name(ports));
    }
    for (name, port) in &args.port {
        add("--port", format!("{name}={port}"));
    }
    for (wanted, flag) in [(args.no_host, "--no-host"), (args.throw_away, "--throw-away")] {
        arguments.extend(wanted.then(|| flag.to_owned()));
    }
    arguments
}

fn value_name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Args,
    }

    #[test]
    fn the_background_gets_the_same_choices() {
        let line = "up --detach --ports auto --port host=8080 --servers compose --runtime spin --replicas 3".split(' ');
        let passed = arguments(&Line::try_parse_from(line).unwrap().up);
        let again = Line::try_parse_from(&passed).unwrap().up;
        assert!(again.in_background && !again.detach);
        assert_eq!((&again.port[..], again.replicas), (&[("host".to_owned(), 8080)][..], Some(3)));
        assert_eq!(arguments(&again), passed);
        let passed = arguments(&Line::try_parse_from(["up", "--no-host"]).unwrap().up);
        assert!(passed.contains(&"--no-host".to_owned()) && Line::try_parse_from(&passed).unwrap().up.no_host);
    }
}
