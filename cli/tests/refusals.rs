//! What can go wrong before anything is started, and what is said then: the cause and the way out.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Home, outcome};

/// A program that answers with this shell script. Another process writes it: what this one writes, a child that another
/// test starts at this moment has open too, and then it can't be executed (ETXTBSY of execve(2)).
fn program(folder: &Path, name: &str, script: &str) {
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(folder.join(name)).arg(script).status();
    assert!(written.unwrap().success());
}

#[test]
fn a_stack_that_never_ran_is_stopped() {
    let home = Home::new();
    let status = home.towpath(&["status", "--json"]).expect(3, &[]).json();
    assert_eq!((&status["url"], &status["urls"]), (&Value::Null, &json!([])));
    let parts = status["parts"].as_array().unwrap();
    assert_eq!(parts.len(), towpath_stack::testing::services().databases().count() + 4);
    assert_eq!(
        parts[1],
        json!({"name": "postgres-order", "pid": null, "state": "stopped", "address": "127.0.0.1:5434"})
    );
    home.towpath(&["status"]).expect(3, &["No stack runs under"]);
    home.towpath(&["down"]).expect(0, &["No stack runs under"]);
}

#[test]
fn what_needs_a_running_stack_says_how_to_start_one() {
    let home = Home::new();
    let lines: [&[&str]; 9] = [
        &["dlq", "list"],
        &["outbox", "list"],
        &["stop", "kafka"],
        &["start", "kafka"],
        &["restart", "relay"],
        &["psql", "order"],
        &["migrate"],
        &["rotate-tokens"],
        &["rotate-passwords"],
    ];
    for line in lines {
        home.towpath(line).expect(1, &["no stack runs under", "towpath up"]);
    }
    home.towpath(&["logs", "relay"]).expect(1, &["no logs", "towpath up"]);
    // 1 is a broken promise.
    home.towpath(&["audit"]).expect(2, &["no stack runs under", "towpath up"]);
    home.towpath(&["audit", "--provider"]).expect(2, &["no stack runs under", "towpath up"]);
    home.towpath(&["chaos"]).expect(2, &["no stack runs under", "towpath up"]);
    home.towpath(&["chaos", "--list"]).expect(2, &["no stack runs under", "towpath up"]);
}

#[test]
fn unknown_words_list_the_known_ones() {
    let home = Home::new();
    home.towpath(&["psql", "orders"]).expect(1, &["\"orders\"", "product, order, payment, inventory"]);
    home.towpath(&["up", "--port", "web=80"]).expect(1, &["no port is called web", "host"]);
    home.towpath(&["dlq", "list", "--home", "/x"]).expect(1, &["--home stands before dlq"]);
    home.towpath(&["outbox", "list", "--home", "/x"]).expect(1, &["--home stands before outbox"]);
    home.towpath(&["up", "--port", "host=none"]).expect(2, &["no port"]);
    home.towpath(&["chaos", "--rate", "0"]).expect(2, &["a number from 0.1 to 1000 is wanted"]);
    home.towpath(&["up", "--no-host", "--runtime", "spin"]).expect(2, &["cannot be used with"]);
    home.towpath(&["status", "--home", "/tmp/a\nb"]).expect(1, &[r"'\n'", "choose another one with --home"]);
    home.towpath(&["up", "--replicas", "9"]).expect(2, &["9 is not a number from 1 to 8"]);
    home.towpath(&["bench", "--rounds", "many"]).expect(2, &["a whole number is wanted"]);
    home.towpath(&["up", "--no-host", "--replicas", "2"]).expect(1, &["one `spin up`", "one relay"]);
    home.towpath(&["up", "--port", "host-2=3100"]).expect(1, &["no port is called host-2"]);
}

#[test]
fn a_port_in_use_is_named_with_who_holds_it() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let assignment = format!("redis={port}");
    let up = home.towpath(&["up", "--no-build", "--ports", "auto", "--port", &assignment]);
    let holder = format!("(pid {})", std::process::id());
    up.expect(1, &[&port.to_string(), "redis", &holder, "--ports auto"]);
    home.towpath(&["status"]).expect(3, &[]);
}

#[test]
fn missing_programs_are_listed_with_their_packages_where_there_is_no_apt() {
    let home = Home::new();
    let mut up = home.command(&["up", "--no-build", "--ports", "auto"]);
    up.env("PATH", home.path()).env("TOWPATH_CACHE", home.path().join("cache"));
    outcome(&mut up).expect(1, &["missing: ", "setpriv (package util-linux", "mvn (package maven", "package manager"]);
}

#[test]
fn spin_must_be_there_to_be_used() {
    let home = Home::new();
    let up = ["up", "--no-build", "--ports", "auto"];
    let without = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("PATH", home.path());
        command
    };
    let said = ["`spin` is not in PATH", "install Spin 4.1 or newer", "leave out --runtime spin"];
    outcome(without(&up).args(["--runtime", "spin"])).expect(1, &said);
    outcome(without(&up).env("TOWPATH_RUNTIME", "spin")).expect(1, &said);
    outcome(&mut without(&["test", "--runtime", "spin", "black_box"])).expect(1, &said);
    outcome(without(&up).env("TOWPATH_RUNTIME", "node"))
        .expect(1, &["TOWPATH_RUNTIME is \"node\"", "embedded or spin"]);
}

#[test]
fn containers_need_docker_its_plugin_and_its_engine() {
    let home = Home::new();
    let up = || {
        let mut up = home.command(&["up", "--no-build", "--ports", "auto", "--servers", "compose"]);
        outcome(up.env("PATH", format!("{}:/usr/bin:/bin", home.path().display())))
    };
    program(home.path(), "docker", "echo 'unknown command: docker compose' >&2; exit 1");
    up().expect(1, &["compose plugin", "unknown command"]);
    program(home.path(), "docker", "[ $1 = compose ] || { echo 'Cannot connect to the daemon' >&2; exit 1; }");
    up().expect(1, &["engine doesn't answer", "Cannot connect"]);
    let mut without = home.command(&["up", "--no-build", "--ports", "auto", "--servers", "compose"]);
    fs::remove_file(home.path().join("docker")).unwrap();
    outcome(without.env("PATH", home.path())).expect(1, &["`docker` is not installed"]);
}

#[test]
fn resetting_asks_and_takes_only_what_is_its_own() {
    let home = Home::new();
    for file in ["data/postgres-order/PG_VERSION", "logs/relay.log", "secrets.env", "mine.txt"] {
        let file = home.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "x=y").unwrap();
    }
    home.towpath(&["reset"]).expect(1, &["--yes"]);
    assert!(home.path().join("data/postgres-order/PG_VERSION").exists());
    home.towpath(&["reset", "--yes"]).expect(0, &["is deleted", "still there: mine.txt"]);
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine.txt"]);
}

#[test]
fn an_up_beside_one_that_still_prepares_says_so() {
    let home = Home::new();
    fs::create_dir(home.path().join("run")).unwrap();
    let lock = File::create(home.path().join("run/lock")).unwrap();
    lock.lock().unwrap();
    home.towpath(&["up", "--no-build"]).expect(0, &["Another `towpath up` is preparing"]);
}

#[test]
fn lost_secrets_are_not_replaced_under_existing_data() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("data/postgres-order")).unwrap();
    home.towpath(&["up", "--no-build", "--ports", "auto"]).expect(1, &["secrets.env is gone", "towpath reset"]);
}

#[test]
fn a_wrong_toolchain_switch_is_refused() {
    let home = Home::new();
    let mut up = home.command(&["up", "--ports", "auto"]);
    outcome(up.env("TOWPATH_WASM_TOOLCHAIN", "nightly"))
        .expect(1, &["TOWPATH_WASM_TOOLCHAIN is \"nightly\"", "auto, rustup or debian"]);
}

/// On a disk that only this command sees.
fn on_a_disk(options: &str, home: &Home) -> support::Outcome {
    let towpath = home.command(&["up", "--no-build", "--ports", "auto"]);
    let mount =
        r#"mount -t tmpfs -o "$1" none "$2" && shift 2 && "$@"; status=$?; ls -A "$TOWPATH_TEST_DISK"; exit $status"#;
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", mount, "sh", options]).arg(home.path());
    shell.arg(towpath.get_program()).args(towpath.get_args());
    shell.env("TOWPATH_ROOT", support::repository()).env("TOWPATH_TEST_DISK", home.path());
    outcome(&mut shell)
}

#[test]
fn a_disk_that_is_full_or_not_for_writing_is_told_before_anything_is_made() {
    let home = Home::new();
    let full = on_a_disk("size=20m", &home).expect(1, &["the disk is full under", "it has 20 MiB left", "--home"]);
    assert_eq!(full.stdout, "", "nothing is made there");
    let read_only = on_a_disk("ro", &home).expect(1, &["Read-only file system", "mount it for writing", "--home"]);
    assert_eq!(read_only.stdout, "");
}

#[test]
fn a_file_in_the_place_of_a_home_is_told_with_the_way_out() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    for line in [&["up", "--no-build"][..], &["status"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
        command.arg("--home").arg(&file).args(line).env("TOWPATH_ROOT", support::repository());
        outcome(&mut command).expect(1, &["Not a directory", "A file stands where a folder is wanted", "--home"]);
    }
}

/// As where the disk was full, or the machine went down, while they were written.
#[test]
fn jars_that_are_half_there_are_not_run_and_named_with_the_way_out() {
    let home = Home::new();
    let list = fs::read_to_string(support::repository().join("infra/native/kafka/sha256sums")).unwrap();
    let hash: String = Sha256::digest(&list).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = home.path().with_extension("cache").join(format!("kafka-{hash}"));
    fs::create_dir_all(&folder).unwrap();
    let up = || {
        let mut up = home.command(&["up", "--no-build", "--ports", "auto"]);
        outcome(up.env("TOWPATH_CACHE", folder.parent().unwrap()))
    };
    let said =
        [folder.file_name().unwrap().to_str().unwrap(), "not what it was when it was fetched: remove that folder"];
    up().expect(1, &said).expect(1, &["cannot read"]);
    let jar = list.lines().next().unwrap().split_once("  ").unwrap().1;
    fs::write(folder.join(jar), "PK").unwrap();
    up().expect(1, &said).expect(1, &[jar, "has the checksum"]);
    fs::remove_dir_all(folder.parent().unwrap()).unwrap();
}

/// What another version has written.
#[test]
fn what_another_version_has_left_is_named_with_the_way_out() {
    let home = Home::new();
    let state = home.path().join("run/state.json");
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    for text in ["{\"phase\": \"sleeping\"}", "", "{\"phase\": \"up\", \"parts\""] {
        fs::write(&state, text).unwrap();
        let said = ["state.json is not of this version of Towpath, or damaged", "remove it"];
        home.towpath(&["up", "--no-build", "--ports", "auto"]).expect(1, &said);
    }
    fs::remove_file(&state).unwrap();
    let folder = home.path().join("data/postgres-order");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("PG_VERSION"), "99\n").unwrap();
    fs::write(home.path().join("secrets.env"), "").unwrap();
    home.towpath(&["up", "--no-build", "--ports", "auto"]).expect(1, &["was made by PostgreSQL 99", "towpath reset"]);
}
