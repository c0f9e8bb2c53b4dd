//! A whole stack from its first start to its reset, with the deaths in between.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use support::{Home, outcome, repository};
use towpath_cli::api::{Client, NewOrder};

const UP: [&str; 5] = ["up", "--detach", "--no-build", "--ports", "auto"];
const PARTS: [&str; 8] =
    ["postgres-product", "postgres-order", "postgres-payment", "postgres-inventory", "kafka", "redis", "relay", "host"];

fn kill(pid: i64) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

/// Whether a process runs: one that has ended and was not waited for doesn't.
fn runs(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn client(home: &Home) -> Client {
    let status = home.towpath(&["status", "--json"]).expect(0, &[]).json();
    Client::new(status["url"].as_str().unwrap()).unwrap()
}

async fn order(home: &Home) -> uuid::Uuid {
    let answer = client(home).place(&NewOrder::paying("somebody", "LAMP-BOW", 1), "a-key", 20).await.unwrap();
    let order: towpath_cli::api::Order = answer.expect(201).unwrap().read().unwrap();
    assert_eq!(order.status, "confirmed");
    order.id
}

#[tokio::test]
async fn a_stack_lives_through_its_deaths() {
    let home = Home::new();
    home.towpath(&UP).expect(0, &["Towpath is up: http://127.0.0.1:", "seed: done"]);
    let status = home.towpath(&["status", "--json"]).expect(0, &[]).json();
    let names: Vec<&str> = status["parts"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, PARTS);
    let order = order(&home).await;

    // A second `up` starts nothing.
    let pids = PARTS.map(|part| home.pid(part).unwrap());
    home.towpath(&UP).expect(0, &["already runs under", "postgres-order"]);
    assert_eq!(PARTS.map(|part| home.pid(part).unwrap()), pids);

    // The catalogue, looked at from inside; and the log of a part.
    let count = home.towpath(&["psql", "product", "--", "-Atc", "select count(*) from products"]).expect(0, &[]);
    assert!(count.stdout.trim().parse::<u32>().unwrap() >= 5, "{}", count.stdout);
    let log = home.towpath(&["logs", "postgres-order", "-n", "1000"]).expect(0, &[]);
    assert!(log.stdout.contains("database system is ready to accept connections"), "{}", log.stdout);
    home.towpath(&["migrate"]).expect(0, &[]);

    // A part that is stopped stays stopped; one that dies comes back.
    home.towpath(&["stop", "redis"]).expect(0, &["redis is stopped"]);
    assert_eq!(home.pid("redis"), None);
    home.towpath(&["status"]).expect(3, &[]);
    home.towpath(&["start", "redis"]).expect(0, &["redis is ready"]);
    let killed = home.pid("postgres-order").unwrap();
    kill(killed);
    // The supervisor hears of the death when the kernel tells it; `start` before that finds nothing to do.
    while home.pid("postgres-order") == Some(killed) {
        std::thread::yield_now();
    }
    home.towpath(&["start", "postgres-order"]).expect(0, &["postgres-order is ready"]);
    assert_ne!(home.pid("postgres-order"), Some(killed));
    home.towpath(&["restart", "host", "relay"]).expect(0, &["host is ready", "relay is ready"]);

    // The supervisor itself is killed: the next `up` begins with what is left, and finds the data again.
    let pids = PARTS.map(|part| home.pid(part).unwrap());
    let state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(home.path().join("run/state.json")).unwrap()).unwrap();
    let supervisor = state["supervisor"]["pid"].as_i64().unwrap();
    kill(supervisor);
    while runs(supervisor) {
        std::thread::yield_now();
    }
    home.towpath(&UP).expect(0, &["Towpath is up"]);
    assert!(pids.iter().all(|pid| !runs(*pid)), "nothing of the killed stack runs beside the new one");
    assert_eq!(client(&home).order(order).await.unwrap().status, "confirmed");

    home.towpath(&["audit", "--settle", "30"]).expect(0, &[]);
    let pids = PARTS.map(|part| home.pid(part).unwrap());
    home.towpath(&["down"]).expect(0, &["has stopped"]);
    assert!(pids.iter().all(|pid| !runs(*pid)), "`down` leaves nothing behind");
    home.towpath(&["reset", "--yes"]).expect(0, &["is deleted"]);
    assert!(!home.path().exists());
}

#[test]
fn a_server_that_does_not_start_is_told_with_its_last_words() {
    let home = Home::new();
    // A checkout whose PostgreSQL is told nonsense.
    let root = home.path().join("checkout");
    fs::create_dir_all(root.join("infra")).unwrap();
    for entry in ["relay.toml", "spin.toml", "migrations", "target"] {
        symlink(repository().join(entry), root.join(entry)).unwrap();
    }
    let copied = Command::new("cp").arg("-r").arg(repository().join("infra/native")).arg(root.join("infra")).status();
    assert!(copied.unwrap().success());
    let config = root.join("infra/native/postgresql.conf");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "\nnonsense = on\n").unwrap();

    let up = |arguments: &[&str]| outcome(home.command(arguments).env("TOWPATH_ROOT", &root));
    let said = ["does not start: died (exit status 1)", "unrecognized configuration parameter \"nonsense\"", ".log"];
    up(&UP).expect(1, &said);
    up(&["status"]).expect(3, &["No stack runs"]);
    // In the foreground it is the same.
    up(&["up", "--no-build", "--ports", "auto"]).expect(1, &said);
}
