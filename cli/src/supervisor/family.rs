//! All processes of a part: the one that the supervisor has started, and what that one has started in turn.
//!
//! `spin up`, `sh -c`, `npx` and their like do their work in a second process. SIGKILL of the first leaves the second there,
//! with its port. So a part has ended when all of its processes have: those of the process group that the first one leads, and
//! those that have left that group and still carry the part's [`MARK`](process::MARK).
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use towpath_stack::process::{self, Identity};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What was killed and is still there after this long hangs in the kernel, and no signal helps.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Family {
    /// The first process. While nobody has waited for it (wait(2)), its number and its group's belong to no one else.
    first: Pid,
    /// What the mark says: the folder of the logs, and the name of the part's.
    logs: PathBuf,
    part: String,
}

impl Family {
    /// None where the child was waited for already.
    pub(super) fn of(child: &Child, log: &Path) -> Option<Self> {
        let first = Pid::from_raw(child.id()?.cast_signed())?;
        Some(Self { first, logs: log.parent()?.to_path_buf(), part: log.file_stem()?.to_str()?.to_owned() })
    }

    /// Waits until the first process has ended, and leaves it to be waited for.
    pub(super) async fn first_ended(&self, child: &mut Child) {
        // Before the first look, so that no death is missed.
        let Ok(mut deaths) = signal(SignalKind::child()) else { return drop(child.wait().await) };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::Pid(self.first), look), Ok(None)) {
            deaths.recv().await;
        }
    }

    /// Sends a signal to the first process.
    pub(super) fn signal_first(&self, signal: Signal) {
        let _ = rustix::process::kill_process(self.first, signal);
    }

    /// All but the first one, as far as they run.
    pub(super) fn others(&self) -> Vec<Identity> {
        let first = self.first.as_raw_pid().cast_unsigned();
        let mut others = process::group(first);
        others.extend(process::marked(&self.logs).into_iter().filter(|(part, _)| *part == self.part).map(|(_, it)| it));
        others.retain(|other| other.pid != first);
        others.sort_by_key(|other| other.pid);
        others.dedup();
        others
    }

    /// Asks the others to end, and waits until they have.
    pub(super) async fn end_others(&self, signal: Signal) {
        for other in self.others() {
            other.signal(signal);
        }
        while !self.others().is_empty() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Kills all of them, and waits until the others are gone. Names those that nothing ends.
    pub(super) async fn kill(&self) -> Vec<String> {
        let deadline = Instant::now() + KILL_PATIENCE;
        loop {
            // All of the group at once: none can start another one in between.
            let _ = kill_process_group(self.first, Signal::KILL);
            let others = self.others();
            if others.is_empty() || Instant::now() > deadline {
                return names(&others);
            }
            for other in others {
                other.signal(Signal::KILL);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// `spin (pid 12)`, and so on.
pub(super) fn names(processes: &[Identity]) -> Vec<String> {
    processes.iter().map(Identity::name).collect()
}
