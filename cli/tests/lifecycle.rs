//! A whole stack from its first start to its reset, with the deaths in between.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use towpath_client::{Client, NewOrder};

use support::{Home, outcome, repository};

const UP: [&str; 5] = ["up", "--detach", "--no-build", "--ports", "auto"];
const UP_TWICE: [&str; 7] = ["up", "--detach", "--no-build", "--ports", "auto", "--replicas", "2"];
/// The parts of a stack with two replicas.
fn parts() -> Vec<String> {
    let services = towpath_stack::testing::services();
    let databases = services.databases().map(|service| format!("postgres-{service}"));
    databases.chain(["kafka", "redis", "relay", "relay-2", "host", "host-2"].map(str::to_owned)).collect()
}

/// Fails where the system lets another user read, write or enter something of a stack. The folders on the way to PostgreSQL's data
/// may be passed through, for it may run as a user of its own; they can't be listed.
fn nothing_is_for_others(home: &Home) {
    let passed = [home.path().to_owned(), home.path().join("data")];
    let mut found = Vec::new();
    for folder in passed.iter().cloned().chain(["run", "logs"].map(|name| home.path().join(name))) {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            // What is deleted meanwhile is for nobody.
            let Ok(mode) = entry.metadata().map(|metadata| metadata.permissions().mode()) else { continue };
            if mode & 0o077 != 0 && !passed.contains(&entry.path()) {
                found.push(format!("{mode:o} {}", entry.path().display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    for folder in &passed {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o711, "{}", folder.display());
    }
    let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().permissions().mode() & 0o777;
    for (name, wanted) in [
        ("logs", 0o700),
        ("logs/kafka.log", 0o600),
        ("logs/postgres-order.log", 0o600),
        ("logs/redis.log", 0o600),
        ("logs/relay.log", 0o600),
        ("logs/host.log", 0o600),
        ("logs/up.log", 0o600),
        ("run", 0o700),
        ("run/control.sock", 0o600),
        ("secrets.env", 0o600),
        ("data/kafka", 0o700),
        ("data/redis", 0o700),
        ("data/postgres-order", 0o700),
    ] {
        assert_eq!(mode(name), wanted, "{name} has {:o}", mode(name));
    }
}

fn kill(pid: i64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Whether a process runs: one that has ended and was not waited for doesn't.
fn runs(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A client of one of the replicas: 0 is the first.
fn client(home: &Home, replica: usize) -> Client {
    let status = home.towpath(&["status", "--json"]).expect(0, &[]).json();
    assert_eq!(status["url"], status["urls"][0]);
    assert_eq!(
        status["payment_provider"], "sandbox",
        "a stack that nobody told otherwise sells for nothing, and says so"
    );
    Client::new(status["urls"][replica].as_str().unwrap()).unwrap()
}

fn names(home: &Home) -> Vec<String> {
    let status = home.towpath(&["status", "--json"]).expect(0, &[]).json();
    status["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap().to_owned()).collect()
}

async fn order(home: &Home) -> uuid::Uuid {
    let answer = client(home, 1).place(&NewOrder::paying("somebody", "LAMP-BOW", 1), "a-key", 20).await.unwrap();
    let order: towpath_client::Order = answer.expect(201).unwrap().read().unwrap();
    assert_eq!(order.status, "confirmed");
    order.id
}

#[tokio::test]
async fn a_stack_lives_through_its_deaths() {
    let home = Home::new();
    // Of two at once one starts the stack, and the other waits for it.
    let at_once = std::thread::scope(|scope| {
        let ups = [(), ()].map(|()| scope.spawn(|| home.towpath(&UP_TWICE)));
        ups.map(|up| up.join().unwrap().expect(0, &[": http://127.0.0.1:", ", http://127.0.0.1:"]))
    });
    assert_eq!(at_once.iter().filter(|up| up.stderr.contains("seed: done")).count(), 1);
    let parts = parts();
    let pids_of = |parts: &[String]| -> Vec<i64> { parts.iter().map(|part| home.pid(part).unwrap()).collect() };
    assert_eq!(names(&home), parts);
    let order = order(&home).await;
    assert_eq!(client(&home, 0).order(order).await.unwrap().status, "confirmed", "both replicas serve the same");

    nothing_is_for_others(&home);

    // A second `up` starts nothing.
    let pids = pids_of(&parts);
    home.towpath(&UP).expect(0, &["already runs under", "postgres-order"]);
    // What it would have to change is refused, all at once.
    let other = ["up", "-d", "--no-build", "--replicas", "1", "--runtime", "spin", "--port", "redis=6"];
    let refused =
        home.towpath(&other).expect(1, &["--replicas 1 is asked for, and 2 run", "embedded runs", "redis has"]);
    let hint =
        refused.stderr.split('`').find(|part| part.contains("down")).unwrap().replace("./towpath", "printf '%s\n'");
    let pasted = Command::new("sh").args(["-c", &hint]).output().unwrap().stdout;
    assert!(String::from_utf8(pasted).unwrap().contains(home.path().to_str().unwrap()), "{hint}");
    home.towpath(&["up", "--port", "web=80"]).expect(1, &["no port is called web", "host-2"]);
    assert_eq!(pids_of(&parts), pids);
    assert!(home.path().join("data/kafka/meta.properties").exists(), "Kafka's data are under the home");

    // The catalogue, looked at from inside; and the log of a part.
    let count = home.towpath(&["psql", "product", "--", "-Atc", "select count(*) from products"]).expect(0, &[]);
    assert!(count.stdout.trim().parse::<u32>().unwrap() >= 5, "{}", count.stdout);
    let log = home.towpath(&["logs", "postgres-order", "-n", "1000"]).expect(0, &[]);
    assert!(log.stdout.contains("database system is ready to accept connections"), "{}", log.stdout);
    home.towpath(&["migrate"]).expect(0, &[]);
    // Thirty megabytes of a server's log become two files of ten at most.
    let loud = "DO $$ BEGIN FOR n IN 1..30 LOOP RAISE WARNING '%', repeat('x', 1 << 20); END LOOP; END $$";
    home.towpath(&["psql", "order", "--", "-qc", loud]).expect(0, &[]);
    let bytes = |name: &str| fs::metadata(home.path().join("logs").join(name)).map_or(0, |metadata| metadata.len());
    while bytes("postgres-order.log") > 10 << 20 || bytes("postgres-order.log.1") == 0 {
        std::thread::yield_now();
    }
    assert!(bytes("postgres-order.log.1") <= 10 << 20, "{}", bytes("postgres-order.log.1"));
    home.towpath(&["dlq", "list"]).expect(0, &["No dead letters."]);
    home.towpath(&["dlq", "show", "order.events.payment.dlq/7"]).expect(1, &["no open letter"]);
    home.towpath(&["outbox", "list"]).expect(0, &["No key is held"]);
    home.towpath(&["outbox", "show", "order/7"]).expect(1, &["no held event order/7"]);
    let help = home.towpath(&["dlq", "list", "--help"]).expect(0, &[]).stdout;
    assert!(help.contains("towpath dlq list") && !help.contains("towpath-relay"), "{help}");

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
    home.towpath(&["restart", "host", "relay-2"]).expect(0, &["host is ready", "relay-2 is ready"]);
    // One replica serves while the other is away.
    let second = client(&home, 1);
    home.towpath(&["stop", "host", "relay"]).expect(0, &["relay is stopped"]);
    assert_eq!(second.order(order).await.unwrap().status, "confirmed");
    home.towpath(&["start", "relay", "host"]).expect(0, &["host is ready"]);

    // The supervisor itself is killed: the next `up` begins with what is left, and finds the data again.
    let pids = pids_of(&parts);
    let state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(home.path().join("run/state.json")).unwrap()).unwrap();
    let supervisor = state["supervisor"]["pid"].as_i64().unwrap();
    kill(supervisor);
    while runs(supervisor) {
        std::thread::yield_now();
    }
    let url = |home: &Home| home.towpath(&["status", "--json"]).json()["url"].clone();
    let before = state["urls"][0].clone();
    home.towpath(&["up", "--detach", "--no-build"]).expect(0, &["Towpath is up"]);
    assert_eq!(url(&home), before, "automatic ports are kept by every `up`");
    assert!(pids.iter().all(|pid| !runs(*pid)), "nothing of the killed stack runs beside the new one");
    let one_pair: Vec<String> = parts.into_iter().filter(|part| !part.ends_with("-2")).collect();
    assert_eq!(names(&home), one_pair, "how many replicas there were is not remembered");
    assert_eq!(client(&home, 0).order(order).await.unwrap().status, "confirmed");

    home.towpath(&["audit", "--settle", "30"]).expect(0, &[]);
    let pids = pids_of(&one_pair);
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
