//! Stops what a killed supervisor left running. It touches only processes that are surely this stack's: those that the state
//! file identifies (same pid, same start time, same boot) with the groups that they lead, and those that have the mark of one
//! of its parts.
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use towpath_stack::home::Home;
use towpath_stack::process::{self, Identity};
use towpath_stack::state::State;
use towpath_stack::terminal::say;

const PATIENCE: Duration = Duration::from_secs(20);
/// What is done sooner needs no word.
const MOMENT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Something that still runs.
#[derive(Debug)]
struct Left {
    part: String,
    /// How it is asked to end.
    signal: Signal,
    /// Whether it is what the supervisor started, and not what that has started in turn.
    first: bool,
    asked: bool,
}

/// Ends all leftovers, and returns the names of the parts that still ran. The caller holds the home's lock, so there is no
/// supervisor to whom they could belong.
///
/// The first process of a part is asked before those that it has started: it may want to end them itself.
pub(crate) async fn stop(home: &Home, state: Option<&State>) -> Vec<String> {
    let mut parts = BTreeSet::new();
    // Who was found once stays known: a group whose leader is gone can't be told from a stranger's.
    let mut found = HashMap::new();
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let mut told = false;
    loop {
        look(home, state, &mut found);
        if found.is_empty() {
            return parts.into_iter().collect();
        }
        parts.extend(found.values().map(|left| left.part.clone()));
        if begun.elapsed() > MOMENT && !told {
            told = true;
            let names: Vec<&str> = parts.iter().map(String::as_str).collect();
            say(&format!("Waiting for the end of what an `up` that was killed has left: {}", names.join(", ")));
        }
        let led: BTreeSet<String> = found.values().filter(|left| left.first).map(|left| left.part.clone()).collect();
        let late = Instant::now() > deadline;
        for (process, left) in &mut found {
            if late {
                process.signal(Signal::KILL);
            } else if !left.asked && (left.first || !led.contains(&left.part)) {
                left.asked = process.signal(left.signal);
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Adds what has come, and takes out what has gone.
fn look(home: &Home, state: Option<&State>, found: &mut HashMap<Identity, Left>) {
    for part in state.iter().flat_map(|state| &state.parts) {
        let Some(first) = part.process.as_ref().filter(|process| process.is_alive()) else { continue };
        for process in process::group(first.pid).into_iter().chain([first.clone()]) {
            let left = Left {
                part: part.name.clone(),
                signal: part.stop_signal.signal(),
                first: process == *first,
                asked: false,
            };
            found.entry(process).or_insert(left);
        }
    }
    for (part, process) in process::marked(&home.logs()) {
        found.entry(process).or_insert(Left { part, signal: Signal::TERM, first: false, asked: false });
    }
    found.retain(|process, _| process.is_alive() && process.pid != std::process::id());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use towpath_stack::testing::{TempDir, example, part};

    #[tokio::test]
    async fn a_leftover_is_stopped_and_a_stranger_is_not() {
        let folder = TempDir::new();
        let spawn = || Command::new("sleep").arg("300").stdin(Stdio::null()).process_group(0).spawn().unwrap();
        let (mut ours, mut stranger) = (spawn(), spawn());
        let identity = Identity::of(ours.id()).unwrap();
        let recycled = Identity { start_time: 1, ..Identity::of(stranger.id()).unwrap() };
        let state = example(recycled.clone(), vec![part("relay", Some(identity)), part("host", Some(recycled))]);
        assert_eq!(stop(&folder.home(), Some(&state)).await, ["relay"]);
        assert!(ours.try_wait().unwrap().is_some());
        assert!(stranger.try_wait().unwrap().is_none(), "a process that only shares a number is left alone");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    /// As where `spin up` was killed with its supervisor: the state file knows no process that runs.
    #[tokio::test]
    async fn what_a_part_that_is_gone_has_started_is_stopped_by_its_mark() {
        let folder = TempDir::new();
        let home = folder.home();
        let mut sh = Command::new("sh");
        sh.args(["-c", "sleep 300 >&2 & echo $!"]).env(process::MARK, home.log("host")).process_group(0);
        let said = sh.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap().stdout;
        let orphan = Identity::of(String::from_utf8(said).unwrap().trim().parse().unwrap()).unwrap();
        assert_eq!(stop(&home, None).await, ["host"]);
        assert!(!orphan.is_alive());
    }
}
