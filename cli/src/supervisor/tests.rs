//! The supervisor with real children: `sh` and `sleep` behave as badly as any server.

mod detours;
mod families;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;
use towpath_stack::control::{Request, ask};
use towpath_stack::process::Identity;
use towpath_stack::state::{PartState, StopSignal};
use towpath_stack::testing::TempDir;
use towpath_stack::testing::example;

use super::probe::Probe;
use super::spec::{Launch, PartSpec, Tier};
use super::*;

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);

struct Stage {
    folder: TempDir,
    home: Home,
}

impl Stage {
    fn new() -> Self {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        Self { folder, home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A part that is ready once it has made the file `NAME.ready`, run by `sh`.
    fn part(&self, name: &str, script: &str) -> PartSpec {
        let mut launch = Launch::new("sh").args(["-c", script]);
        launch.folder = Some(self.folder.path().to_path_buf());
        PartSpec {
            name: name.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            tier: Tier::Server,
            after: Vec::new(),
            prepare: None,
            launch,
            variables: None,
            probe: Probe::File { path: self.file(&format!("{name}.ready")) },
            ready_deadline: LONG,
            stop_signal: StopSignal::Terminate,
            stop_gently: None,
            stop_deadline: LONG,
            log: self.home.log(name),
        }
    }

    fn supervisor(&self, parts: Vec<PartSpec>) -> Supervisor {
        let lock = self.home.lock().unwrap().expect("nobody else has this home");
        let plan = Plan { parts, tasks: Vec::new(), state: example(this_supervisor().unwrap(), Vec::new()) };
        Supervisor::new(&self.home, lock, plan, Screen::silent()).unwrap().0
    }

    /// What the state file says of a part, once `wanted` is true of it.
    async fn wait_for(&self, part: &str, wanted: impl Fn(PartState, Option<&Identity>) -> bool) -> Option<Identity> {
        let look = async {
            loop {
                let state = State::load(&self.home).unwrap();
                let found = state.and_then(|state| state.parts.into_iter().find(|record| record.name == part));
                if let Some(found) = found.filter(|found| wanted(found.state, found.process.as_ref())) {
                    return found.process;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, look).await.expect("it comes to be")
    }
}

/// Becomes ready at once and stays.
const STEADY: &str = "touch steady.ready; exec sleep 300";

async fn shut_down(supervisor: Supervisor) {
    timeout(LONG, supervisor.shut_down(std::future::pending())).await.expect("everything stops");
}

#[tokio::test]
async fn what_dies_is_started_again() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(vec![stage.part("steady", STEADY)]);
    supervisor.boot(Vec::new()).await.unwrap();
    let first = stage.wait_for("steady", |state, _| state == PartState::Ready).await.unwrap();
    assert!(first.signal(rustix::process::Signal::KILL));
    let second = stage
        .wait_for("steady", |state, process| state == PartState::Ready && process.is_some_and(|now| *now != first))
        .await
        .unwrap();
    assert!(second.is_alive() && !first.is_alive());
    shut_down(supervisor).await;
    assert!(!second.is_alive());
    let state = State::load(&stage.home).unwrap().unwrap();
    assert_eq!((state.phase, state.parts[0].state), (Phase::Stopped, PartState::Stopped));
}

/// However much a part says while it runs, its logs take twice the bound at most, and what it said last is there.
#[tokio::test]
async fn a_part_that_talks_much_fills_no_disk() {
    let stage = Stage::new();
    // Five times the bound. It is ready once all of it is written.
    let script = "yes 'the same line, again and again' | head -c 52428800; echo 'the last word'; touch loud.ready; \
                  exec sleep 300";
    let supervisor = stage.supervisor(vec![stage.part("loud", script)]);
    supervisor.boot(Vec::new()).await.unwrap();
    let bytes = || -> u64 {
        let entries = std::fs::read_dir(stage.home.logs()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    let small = async {
        while bytes() > 2 * logs::rotation::MAX_BYTES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, small).await.unwrap_or_else(|_| panic!("{} bytes of logs", bytes()));
    let log = stage.home.log("loud");
    let newest = [log.clone(), logs::rotation::older(&log)].map(|file| std::fs::read_to_string(file).unwrap());
    assert!(newest.iter().any(|text| text.ends_with("the last word\n")));
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_part_that_does_not_start_is_an_error_with_its_last_words() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(vec![stage.part("broken", "echo 'no such disk' >&2; exit 7")]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    for part in ["broken does not start", "exit status 7", "no such disk", "broken.log"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    shut_down(supervisor).await;
}

/// Three deaths are the end of an order to start, and no word on the next one.
#[tokio::test]
async fn what_kept_dying_is_tried_again_when_it_is_ordered_to_start() {
    let stage = Stage::new();
    let part = stage.part("hasty", "test -e disk || exit 7; touch hasty.ready; exec sleep 300");
    let supervisor = stage.supervisor(vec![part]);
    supervisor.boot(Vec::new()).await.unwrap_err();
    std::fs::write(stage.file("disk"), "").unwrap();
    supervisor.parts[0].start().await.unwrap();
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_part_that_never_answers_is_an_error_after_its_deadline() {
    let stage = Stage::new();
    let mut silent = stage.part("silent", "echo 'thinking'; exec sleep 300");
    silent.ready_deadline = Duration::from_millis(300);
    let supervisor = stage.supervisor(vec![silent]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("silent does not answer") && error.contains("silent.ready"), "{error}");
    shut_down(supervisor).await;
}

#[tokio::test]
async fn a_program_that_is_missing_and_a_preparation_that_fails_are_told() {
    let stage = Stage::new();
    let mut missing = stage.part("missing", "");
    missing.launch = Launch::new("/nowhere/program");
    let supervisor = stage.supervisor(vec![missing]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/program"), "{error}");
    shut_down(supervisor).await;

    let mut unprepared = stage.part("unprepared", STEADY);
    unprepared.prepare = Some(std::sync::Arc::new(|| async { anyhow::bail!("the disk is full") }.boxed()));
    let supervisor = stage.supervisor(vec![unprepared]);
    let error = supervisor.boot(Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("unprepared") && error.contains("the disk is full"), "{error}");
    shut_down(supervisor).await;
}

#[tokio::test]
async fn who_ignores_the_signal_is_killed_with_its_whole_group() {
    let stage = Stage::new();
    let mut stubborn = stage.part(
        "stubborn",
        "trap '' TERM; sleep 300 & echo $! > stubborn.child; touch stubborn.ready; while :; do wait; done",
    );
    stubborn.stop_deadline = Duration::from_millis(200);
    let supervisor = stage.supervisor(vec![stubborn]);
    supervisor.boot(Vec::new()).await.unwrap();
    let child: u32 = std::fs::read_to_string(stage.file("stubborn.child")).unwrap().trim().parse().unwrap();
    let child = Identity::of(child).unwrap();
    shut_down(supervisor).await;
    assert!(!child.is_alive(), "the child of the part is killed too");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_deadlines() {
    let stage = Stage::new();
    let stubborn = stage.part("stubborn", "trap '' TERM; touch stubborn.ready; while :; do sleep 300; done");
    let supervisor = stage.supervisor(vec![stubborn]);
    supervisor.boot(Vec::new()).await.unwrap();
    timeout(LONG / 2, supervisor.shut_down(std::future::ready(()))).await.expect("it is killed at once");
}

#[tokio::test]
async fn stopping_goes_from_the_edge_inwards() {
    let stage = Stage::new();
    let script = |name: &str| {
        format!("trap 'echo {name} >> order; exit 0' TERM; touch {name}.ready; while :; do sleep 0.01; done")
    };
    let parts = [("server", Tier::Server), ("edge", Tier::Edge), ("relay", Tier::Relay)].map(|(name, tier)| {
        let mut part = stage.part(name, &script(name));
        part.tier = tier;
        part
    });
    let supervisor = stage.supervisor(parts.to_vec());
    supervisor.boot(Vec::new()).await.unwrap();
    shut_down(supervisor).await;
    assert_eq!(std::fs::read_to_string(stage.file("order")).unwrap(), "edge\nrelay\nserver\n");
}

#[tokio::test]
async fn the_socket_stops_starts_and_restarts_parts() {
    let stage = Stage::new();
    let supervisor = stage.supervisor(vec![stage.part("steady", STEADY)]);
    supervisor.boot(Vec::new()).await.unwrap();
    let asked = |request: Request| {
        let home = stage.home.clone();
        tokio::task::spawn_blocking(move || ask(&home, &request).map_err(|error| error.to_string()))
    };
    let steady = || "steady".to_owned();
    // What is answered is written down.
    let written = || {
        let state = State::load(&stage.home).unwrap().unwrap();
        (state.parts[0].state, state.parts[0].process.clone())
    };
    let first = written();
    assert_eq!(first.0, PartState::Ready);
    assert!(asked(Request::Stop { part: steady() }).await.unwrap().unwrap().contains("is stopped"));
    assert_eq!(written(), (PartState::Stopped, None));
    assert!(asked(Request::Start { part: steady() }).await.unwrap().unwrap().contains("is ready"));
    let second = written();
    assert_eq!(second.0, PartState::Ready);
    assert_ne!(second, first);
    assert!(asked(Request::Start { part: steady() }).await.unwrap().unwrap().contains("is ready"));
    assert_eq!(written(), second, "it ran already");
    assert!(asked(Request::Restart { part: steady() }).await.unwrap().unwrap().contains("is ready"));
    let third = written();
    assert_eq!(third.0, PartState::Ready);
    assert_ne!(third, second);

    let error = asked(Request::Stop { part: "nobody".to_owned() }).await.unwrap().unwrap_err();
    assert!(error.contains("nobody") && error.contains("steady"), "{error}");
    asked(Request::Down).await.unwrap().unwrap();
    timeout(LONG, supervisor.asked_to_stop()).await.expect("it is told");
    shut_down(supervisor).await;
    let error = asked(Request::Down).await.unwrap().unwrap_err();
    assert!(error.contains("no stack runs under"), "{error}");
}

#[tokio::test]
async fn a_deep_home_still_has_a_socket() {
    let folder = TempDir::new();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    let home = Home::resolve(Some(&deep)).unwrap();
    home.create().unwrap();
    let server = Server::listen(&home, Vec::new()).unwrap();
    let _lock = home.lock().unwrap();
    let asking = tokio::task::spawn_blocking(move || ask(&home, &Request::Down));
    assert_eq!(asking.await.unwrap().unwrap(), "stopping");
    timeout(LONG, server.asked_to_stop()).await.expect("it is told");
}

/// The kernel's own net below all others: who is orphaned gets the signal.
#[tokio::test]
async fn children_do_not_outlive_a_killed_supervisor() {
    let stage = Stage::new();
    // This `sh` plays the supervisor; what it starts is started as `Launch::command` starts it.
    let child = Launch::new("sleep").args(["300"]).command(StopSignal::Terminate);
    let child: Vec<String> =
        std::iter::once(child.as_std().get_program()).chain(child.as_std().get_args()).map(quoted).collect();
    let script = format!("{} & echo $! > child; touch ready; exec sleep 300", child.join(" "));
    let mut parent =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(stage.folder.path()).spawn().unwrap();
    let found = timeout(LONG, async {
        loop {
            let pid = std::fs::read_to_string(stage.file("child")).ok().and_then(|pid| pid.trim().parse().ok());
            // Until setpriv has become `sleep` the net isn't there yet.
            let found = pid.and_then(Identity::of).filter(|found| {
                std::fs::read_to_string(format!("/proc/{}/comm", found.pid)).is_ok_and(|name| name.trim() == "sleep")
            });
            match found {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let orphan = found.await.unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    timeout(LONG, async {
        while orphan.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it ends with its parent");
}

fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_str().unwrap())
}
