//! Programs that start others in turn, as cargo, mvn and `sh -c` do: where one is given up, all that it has started ends with it.
use std::io;
use std::process::{ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// Runs a program to its end.
pub(crate) async fn status(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let group = Group::of(&child);
    let status = child.wait().await?;
    group.ended();
    Ok(status)
}

/// Runs a program to its end, and keeps what it says on stdout, and on stderr too where nobody has chosen otherwise.
pub(crate) async fn output(command: &mut Command) -> io::Result<Output> {
    let child = command.stdout(Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
    let group = Group::of(&child);
    let output = child.wait_with_output().await?;
    group.ended();
    Ok(output)
}

/// Kills a process group when it is dropped.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The one that this child leads.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())))
    }

    /// Lets it go: its leader has been waited for, and its number may come to mean another one.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use towpath_stack::process::Identity;
    use towpath_stack::testing::TempDir;

    #[tokio::test]
    async fn what_is_given_up_ends_with_all_that_it_has_started() {
        let folder = TempDir::new();
        let written = || {
            let text = std::fs::read_to_string(folder.path().join("child")).ok()?;
            text.strip_suffix('\n').and_then(|pid| Identity::of(pid.parse().ok()?))
        };
        let mut sh = Command::new("sh");
        sh.args(["-c", "sleep 300 & echo $! > child; wait"]).current_dir(folder.path());
        let child = tokio::select! {
            ended = status(&mut sh) => panic!("it waits for its child: {ended:?}"),
            child = async {
                loop {
                    match written() {
                        Some(child) => return child,
                        None => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            } => child,
        };
        while child.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_has_ended_says_how_and_what_it_said() {
        let mut sh = Command::new("sh");
        let said = output(sh.args(["-c", "echo out; exit 7"])).await.unwrap();
        assert_eq!((said.status.code(), &said.stdout[..]), (Some(7), &b"out\n"[..]));
        assert_eq!(status(Command::new("sh").args(["-c", "exit 3"])).await.unwrap().code(), Some(3));
    }
}
