//! SIGSTOP of each part for a while, then SIGCONT: the process is there, its connections stand, and nothing answers. Also
//! twice in a row: the second standstill meets everybody while they are coming back from the first.
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
use rand::seq::IndexedRandom;
use rustix::process::Signal;
use towpath_stack::process::{self, Identity};

use super::parts::{self, Kind};
use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// Two leases of a shard.
const STALL: Duration = Duration::from_secs(20);
/// Until what was late because of it is done: Kafka takes its members back, publishers take their shards.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Of two in a row, each: longer than the session of a consumer, and than the lease of a shard.
const STALL_OF_TWO: Duration = Duration::from_secs(15);
/// Between two: before anybody is back, in the middle of it, and when all are back but for what waits long.
const BETWEEN: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(40)];

struct Stall {
    part: String,
    kind: Kind,
    twice: bool,
}

pub(super) fn all(stage: &Stage) -> Vec<Box<dyn Fault>> {
    let parts = || parts::of_stack(stage).into_iter();
    let once = parts().map(|(part, kind)| Stall { part, kind, twice: false });
    let twice = parts().map(|(part, kind)| Stall { part, kind, twice: true });
    once.chain(twice).map(|stall| Box::new(stall) as _).collect()
}

impl Fault for Stall {
    fn name(&self) -> String {
        if self.twice { format!("stall-twice-{}", self.part) } else { format!("stall-{}", self.part) }
    }

    fn group(&self) -> Group {
        Group::Stall
    }

    fn about(&self) -> String {
        let part = &self.part;
        if self.twice {
            let [short, middle, long] = BETWEEN.map(|span| span.as_secs());
            let each = STALL_OF_TWO.as_secs();
            format!("SIGSTOP of {part} for {each} s, and again {short}, {middle} or {long} s later")
        } else {
            format!("SIGSTOP of {part} for {} s, then SIGCONT", STALL.as_secs())
        }
    }

    fn duration(&self) -> Duration {
        let span = if self.twice { STALL_OF_TWO * 2 + BETWEEN[2] } else { STALL };
        span + AFTERWARDS
    }

    fn blast(&self, _: &Stage) -> Blast {
        Blast { stalled: matches!(self.kind, Kind::Host(_)), ..self.kind.blast() }
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let note = if self.twice {
                let between = *BETWEEN.choose(random).context("there is a span")?;
                let first = self.stand_still(stage, STALL_OF_TWO).await?;
                tokio::time::sleep(between).await;
                let second = self.stand_still(stage, STALL_OF_TWO).await?;
                format!("{first}; {} s later {second}", between.as_secs())
            } else {
                self.stand_still(stage, STALL).await?
            };
            stage.until_ready(&self.part, AFTERWARDS).await?;
            Ok(Struck::noted(note))
        })
    }
}

impl Stall {
    /// Stops the part for a span. Answers what it did.
    async fn stand_still(&self, stage: &Stage, span: Duration) -> Result<String> {
        let process = parts::process(stage, &self.part)?;
        let stopped = Stopped::all_of(&process)?;
        let count = stopped.count;
        tokio::time::sleep(span).await;
        stopped.wake()?;
        ensure!(process.is_alive(), "{} ended while it stood still: see `towpath logs {}`", self.part, self.part);
        let (part, pid) = (&self.part, process.pid);
        Ok(format!("{part} (pid {pid}, {count} processes) stood still for {} s", span.as_secs()))
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
