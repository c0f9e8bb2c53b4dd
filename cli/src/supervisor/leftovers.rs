//! Stops what a killed supervisor left running. It touches only processes that the state file identifies: same pid, same
//! start time, same boot.
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::{Instant, sleep};
use towpath_stack::process::Identity;
use towpath_stack::state::{PartRecord, State};

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends all leftovers, and returns the names of the parts that still ran. The caller holds the home's lock, so there is no
/// supervisor to whom they could belong.
pub(crate) async fn stop(state: &State) -> Vec<String> {
    let left: Vec<(&PartRecord, &Identity)> = state
        .parts
        .iter()
        .filter_map(|part| Some((part, part.process.as_ref().filter(|process| process.is_alive())?)))
        .collect();
    for (part, process) in &left {
        signal(process, part.stop_signal.signal());
    }
    let deadline = Instant::now() + PATIENCE;
    while left.iter().any(|(_, process)| process.is_alive()) && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
    for (_, process) in &left {
        // Each part leads a process group of its own; its number is in use as long as the leader lives.
        if let (true, Some(group)) = (process.is_alive(), pid(process)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    while left.iter().any(|(_, process)| process.is_alive()) {
        sleep(LOOK_EVERY).await;
    }
    left.iter().map(|(part, _)| part.name.clone()).collect()
}

fn signal(process: &Identity, signal: Signal) {
    if let Some(pid) = pid(process) {
        let _ = kill_process(pid, signal);
    }
}

fn pid(process: &Identity) -> Option<Pid> {
    Pid::from_raw(process.pid.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use towpath_stack::testing::{example, part};

    #[tokio::test]
    async fn a_leftover_is_stopped_and_a_stranger_is_not() {
        let spawn = || Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
        let (mut ours, mut stranger) = (spawn(), spawn());
        let identity = Identity::of(ours.id()).unwrap();
        let recycled = Identity { start_time: 1, ..Identity::of(stranger.id()).unwrap() };
        let state = example(recycled.clone(), vec![part("relay", Some(identity)), part("host", Some(recycled))]);
        assert_eq!(stop(&state).await, ["relay"]);
        assert!(ours.try_wait().unwrap().is_some());
        assert!(stranger.try_wait().unwrap().is_none(), "a process that only shares a number is left alone");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
