//! SIGSTOP of each part for a while, then SIGCONT: the process is there, its connections stand, and nothing answers.
//!
//! A PostgreSQL server is many processes: stopping the first alone would stop no statement, so all of them stand
//! still. The supervisor only starts again what has ended, and a part that stands still hasn't.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rustix::process::Signal;
use towpath_stack::process::{self, Identity};

use super::parts::{self, Kind};
use crate::fault::{Blast, Fault, Struck};
use crate::row::Row;
use crate::stage::Stage;

/// Two leases of a shard.
const STALL: Duration = Duration::from_secs(20);
/// Until what was late because of it is done: Kafka takes its members back, publishers take their shards.
const AFTERWARDS: Duration = Duration::from_secs(5);

struct Stall {
    part: String,
    kind: Kind,
}

pub(super) fn all(stage: &Stage) -> Vec<Box<dyn Fault>> {
    parts::of_stack(stage).into_iter().map(|(part, kind)| Box::new(Stall { part, kind }) as _).collect()
}

impl Fault for Stall {
    fn name(&self) -> String {
        format!("stall-{}", self.part)
    }

    fn row(&self) -> Row {
        Row::Stall
    }

    fn about(&self) -> String {
        format!("SIGSTOP of {} for {} s, then SIGCONT", self.part, STALL.as_secs())
    }

    fn duration(&self) -> Duration {
        STALL + AFTERWARDS
    }

    fn blast(&self, _: &Stage) -> Blast {
        Blast { stalled: matches!(self.kind, Kind::Host(_)), ..self.kind.blast() }
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let process = parts::process(stage, &self.part)?;
            let stopped = Stopped::all_of(&process)?;
            let count = stopped.count;
            tokio::time::sleep(STALL).await;
            stopped.wake()?;
            ensure!(process.is_alive(), "{} ended while it stood still: see `towpath logs {}`", self.part, self.part);
            stage.until_ready(&self.part, AFTERWARDS).await?;
            let (part, pid) = (&self.part, process.pid);
            Ok(Struck::noted(format!("{part} (pid {pid}, {count} processes) stood still for {} s", STALL.as_secs())))
        })
    }
}

/// Processes that stand still. A child of ours is told of each before it is stopped, and wakes them all when its input
/// ends: so they go on whatever happens to this program, even where it is killed itself.
struct Stopped {
    waker: Child,
    count: usize,
}

const WAKE_AT_THE_END: &str = "trap '' INT TERM HUP; while read -r pid; do pids=\"$pids $pid\"; done; kill -CONT $pids";

impl Stopped {
    /// Stops a process and its children.
    fn all_of(root: &Identity) -> Result<Self> {
        let mut waker = Command::new("sh");
        waker.args(["-c", WAKE_AT_THE_END]).process_group(0);
        waker.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut stopped = Self { waker: waker.spawn().context("cannot start sh")?, count: 0 };
        stopped.stop(root)?;
        // It stands still before its children are looked for, so that there are no more afterwards.
        for child in process::descendants(root.pid) {
            stopped.stop(&child)?;
        }
        Ok(stopped)
    }

    fn stop(&mut self, process: &Identity) -> Result<()> {
        let waker = self.waker.stdin.as_mut().context("the waker was let go")?;
        writeln!(waker, "{}", process.pid).context("the waker is gone")?;
        self.count += 1;
        parts::signal(process, Signal::STOP)
    }

    /// Wakes all of them.
    fn wake(mut self) -> Result<()> {
        self.end().context("what was stopped could not be woken")
    }

    fn end(&mut self) -> std::io::Result<()> {
        drop(self.waker.stdin.take());
        self.waker.wait().map(drop)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Waits until the state of a process, as /proc has it, is one of these.
    fn until(pid: u32, states: &str) {
        let begun = Instant::now();
        loop {
            let state = process::state(pid);
            if state.is_some_and(|state| states.contains(state)) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{pid} is {state:?}, and should be one of {states}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_and_its_children_stand_still_until_the_guard_is_dropped() {
        let mut parent = Command::new("sh").args(["-c", "sleep 300 & wait"]).process_group(0).spawn().unwrap();
        let root = Identity::of(parent.id()).unwrap();
        let child = loop {
            if let Some(child) = process::descendants(root.pid).pop() {
                break child;
            }
            std::thread::yield_now();
        };
        let stopped = Stopped::all_of(&root).unwrap();
        assert_eq!(stopped.count, 2);
        until(root.pid, "T");
        until(child.pid, "T");
        drop(stopped);
        until(root.pid, "SR");
        until(child.pid, "SR");
        parts::signal(&child, Signal::KILL).unwrap();
        parent.wait().unwrap();
    }
}
