//! A stack on Spin, and one for a `spin up` that isn't its part.
//!
//! Spin's command line can't be fetched from any registry, so a script stands in for it: it takes the same arguments, and starts
//! the embedded host as Spin starts `spin trigger http`, in a process of its own, with one listener for everybody. What Spin
//! itself does with requests is not tested here; docs/spin.md says how to see it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use towpath_client::{Client, NewOrder, Order};
use towpath_stack::process::{Identity, descendants};

use support::{Home, Outcome, outcome, repository};

const SPIN: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo "spin $SPIN_SAYS (94a8fc8a 2026-08-21)"; exit; fi
[ "$1" = up ] || exit 2
shift
while [ $# -gt 0 ]; do
    case $1 in
    --file) file=$2 ;;
    --listen) listen=$2 ;;
    --runtime-config-file) config=$2 ;;
    *) echo "error: unexpected argument '$1'" >&2; exit 2 ;;
    esac
    shift 2
done
echo "config: $(grep '^log_dir' "$config")"
"$TEST_HOST" --manifest "$file" --listen "$listen" --deliveries-prefix /none/ --cache-dir "$TEST_COMPILED" &
trap 'kill -TERM $!' TERM INT
wait $!
wait $!
"#;

/// A home with a `spin` of its own in PATH.
struct Stage {
    home: Home,
    spin: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let home = Home::new();
        let spin = home.path().join("bin");
        fs::create_dir(&spin).unwrap();
        fs::write(spin.join("script"), SPIN).unwrap();
        // Another process makes it executable, so that none which is forked meanwhile has it open (ETXTBSY of execve(2)).
        let made = Command::new("sh").args(["-c", "cp script spin && chmod 755 spin"]).current_dir(&spin).status();
        assert!(made.unwrap().success());
        Self { home, spin }
    }

    fn command(&self, arguments: &[&str], version: &str) -> Command {
        let mut command = self.home.command(arguments);
        let path = std::env::var("PATH").unwrap();
        let host = Path::new(env!("CARGO_BIN_EXE_towpath")).with_file_name("towpath-host");
        command
            .env("PATH", format!("{}:{path}", self.spin.display()))
            .env("SPIN_SAYS", version)
            .env("TEST_HOST", host)
            .env("TEST_COMPILED", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        command
    }

    fn up(&self, version: &str) -> Outcome {
        let up = ["up", "--detach", "--no-build", "--ports", "auto", "--runtime", "spin"];
        outcome(&mut self.command(&up, version))
    }

    fn status(&self) -> Value {
        self.home.towpath(&["status", "--json"]).json()
    }

    fn client(&self) -> Client {
        Client::new(self.status()["url"].as_str().unwrap()).unwrap()
    }

    /// The first process of the host, and those that it has started.
    fn host(&self) -> (Identity, Vec<Identity>) {
        let pid = u32::try_from(self.home.pid("host").unwrap()).unwrap();
        (Identity::of(pid).unwrap(), descendants(pid))
    }

    fn supervisor(&self) -> Identity {
        let state = fs::read_to_string(self.home.path().join("run/state.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        Identity::of(u32::try_from(state["supervisor"]["pid"].as_u64().unwrap()).unwrap()).unwrap()
    }
}

fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

async fn order(client: &Client, key: &str) {
    let answer = client.place(&NewOrder::paying("somebody", "LAMP-BOW", 1), key, 20).await.unwrap();
    let order: Order = answer.expect(201).unwrap().read().unwrap();
    assert_eq!(order.status, "confirmed", "orders and the relay's deliveries share the one listener");
}

#[test]
fn a_spin_that_is_too_old_is_refused_with_what_is_needed() {
    let stage = Stage::new();
    stage.up("3.6.2").expect(1, &["is Spin 3.6.2", "install Spin 4.1 or newer", "leave out --runtime spin"]);
    stage.up("4.0.1").expect(1, &["is Spin 4.0.1"]);
    stage.up("soon").expect(1, &["says \"spin soon (94a8fc8a 2026-08-21)\", which is no version"]);
    stage.home.towpath(&["status"]).expect(3, &["No stack runs"]);
}

#[tokio::test]
async fn a_stack_on_spin_dies_with_all_that_it_has_started() {
    let stage = Stage::new();
    stage.up("4.1.0-pre0").expect(0, &["Towpath is up"]);
    let port: u16 = stage.status()["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    order(&stage.client(), "first").await;

    // SIGKILL of `spin up` leaves its trigger behind, and that has the port.
    let (spin, triggers) = stage.host();
    assert!(!triggers.is_empty() && spin.signal(Signal::KILL));
    until(|| stage.home.pid("host").is_some_and(|pid| pid != i64::from(spin.pid)));
    stage.home.towpath(&["start", "host"]).expect(0, &["host is ready"]);
    assert!(triggers.iter().all(|trigger| !trigger.is_alive()), "it would keep the port");
    order(&stage.client(), "second").await;
    let up = stage.home.towpath(&["logs", "up", "-n", "50"]).stdout;
    assert_eq!(up.matches("host died").count(), 1, "it does not die again and again: {up}");
    assert!(up.contains("what it had left is killed: towpath-host (pid "), "{up}");

    // What components print is in the log of the part, and Spin is told to keep none of its own.
    stage.home.towpath(&["stop", "relay"]).expect(0, &[]);
    assert_eq!(stage.client().get("/v1/products").send().await.unwrap().status(), 503);
    let log = stage.home.towpath(&["logs", "host", "-n", "50"]).stdout;
    assert!(log.contains("\"code\":\"unavailable\"") && log.contains("config: log_dir = \"\""), "{log}");

    // The supervisor and `spin up` are killed at once: nobody tells the trigger.
    let (spin, triggers) = stage.host();
    let supervisor = stage.supervisor();
    assert!(spin.signal(Signal::KILL) && supervisor.signal(Signal::KILL));
    until(|| !supervisor.is_alive());
    stage.home.towpath(&["down"]).expect(0, &["has stopped"]);
    assert!(triggers.iter().all(|trigger| !trigger.is_alive()), "`down` leaves nothing behind");
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    stage.home.towpath(&["down"]).expect(0, &["No stack runs"]);
}

/// In a checkout of its own, since the file lies beside spin.toml.
#[test]
fn the_variables_of_ones_own_spin_up_are_closed_to_others_and_go_with_the_stack() {
    let stage = Stage::new();
    let root = stage.home.path().join("checkout");
    fs::create_dir(&root).unwrap();
    for entry in ["relay.toml", "spin.toml", "migrations", "target", "infra"] {
        symlink(repository().join(entry), root.join(entry)).unwrap();
    }
    let towpath = |arguments: &[&str]| outcome(stage.home.command(arguments).env("TOWPATH_ROOT", &root));
    let up = ["up", "--detach", "--no-build", "--ports", "auto", "--no-host"];
    let file = root.join(".env");
    fs::write(&file, "MINE=1\n").unwrap();
    towpath(&up).expect(1, &["is not one that Towpath made"]);
    fs::remove_file(&file).unwrap();

    towpath(&up).expect(0, &["without a host", "spin up --listen"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains("\nSPIN_VARIABLE_ORDER_TOKEN="));
    towpath(&["down"]).expect(0, &["has stopped"]);
    assert!(!file.exists());

    towpath(&up).expect(0, &[]);
    let supervisor = stage.supervisor();
    assert!(file.exists() && supervisor.signal(Signal::KILL));
    until(|| !supervisor.is_alive());
    towpath(&["down"]).expect(0, &[]);
    assert!(!file.exists(), "the next `down` finds what a killed supervisor has left");
}
