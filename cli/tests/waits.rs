//! Every wait of the command ends, and names who is away: with servers that are stopped, and with some that have frozen, which
//! answer nobody and refuse nobody.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::Home;

/// Processes that have frozen; they go on when this is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn new(pids: impl IntoIterator<Item = i64>) -> Self {
        let pids: Vec<Pid> = pids.into_iter().map(|pid| Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).collect();
        pids.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// A command line, its exit status, and what it says on stderr or stdout.
type Case = (&'static [&'static str], i32, &'static [&'static str]);

/// Runs all at once: each of them waits.
fn each(home: &Home, cases: &[Case]) {
    thread::scope(|scope| {
        for (line, status, said) in cases {
            scope.spawn(move || {
                let mut outcome = home.towpath(line);
                outcome.stderr.push_str(&outcome.stdout);
                eprintln!("{line:?}: {}", outcome.stderr);
                outcome.expect(*status, said);
            });
        }
    });
}

#[test]
fn every_wait_ends_and_names_who_is_away() {
    let home = Home::new();
    home.towpath(&["up", "--detach", "--no-build", "--ports", "auto"]).expect(0, &["Towpath is up"]);

    // Stopped by a person: there is nothing to wait for.
    home.towpath(&["stop", "kafka", "postgres-order"]).expect(0, &["kafka is stopped", "postgres-order is stopped"]);
    each(
        &home,
        &[
            (&["dlq", "list"], 1, &["kafka is stopped", "start kafka"]),
            (&["psql", "order"], 1, &["postgres-order is stopped", "start postgres-order"]),
            (&["migrate"], 1, &["postgres-order is stopped", "start postgres-order"]),
            (&["outbox", "list"], 1, &["order"]),
            (&["audit"], 2, &["order"]),
            (&["rotate-passwords"], 1, &["kafka is stopped", "start kafka"]),
            (&["status"], 3, &["postgres-order", "stopped"]),
        ],
    );
    home.towpath(&["start", "kafka", "postgres-order"]).expect(0, &["kafka is ready", "postgres-order is ready"]);

    let frozen = Frozen::new(["kafka", "postgres-order", "relay", "host"].map(|part| home.pid(part).unwrap()));
    each(
        &home,
        &[
            (&["dlq", "list"], 1, &["Kafka at 127.0.0.1:", "doesn't answer"]),
            (&["psql", "order"], 1, &["Waiting for postgres-order", "postgres-order doesn't answer"]),
            (&["migrate"], 1, &["order"]),
            (&["outbox", "list"], 1, &["order"]),
            (&["audit"], 2, &["order"]),
            (&["rotate-passwords"], 1, &["Kafka doesn't answer"]),
            (
                &["status"],
                3,
                &["relay runs and doesn't answer: nothing was heard for 3 s", "host runs and doesn't answer: nothing"],
            ),
        ],
    );
    drop(frozen);

    // The supervisor itself.
    let state: Value = serde_json::from_str(&fs::read_to_string(home.path().join("run/state.json")).unwrap()).unwrap();
    let supervisor = state["supervisor"]["pid"].as_i64().unwrap();
    let frozen = Frozen::new([supervisor]);
    let said: &[&str] = &["the supervisor (pid ", "has said nothing for 10 s", "kill -CONT"];
    each(&home, &[(&["stop", "redis"], 1, said), (&["start", "redis"], 1, said), (&["down"], 1, said)]);
    drop(frozen);
    home.towpath(&["down"]).expect(0, &["has stopped"]);
}
