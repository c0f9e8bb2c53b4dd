//! How the host starts, and how it says why it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::{APPLICATION, Setup};
use towpath_host::manifest::Manifest;

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once_with_exit_status_64() {
    let manifest = APPLICATION
        .replace("name = \"host-test\"", "nmae = \"host-test\"")
        .replace("component = \"front\"", "component = \"fron\"")
        .replace("environment = { MODE = \"test\" }", "sqlite_databases = [\"default\"]");
    let (status, log) = Setup::of(&manifest).fail().await;
    assert_eq!(status, 64, "{log}");
    for text in ["spin.toml", "line 4: `application.nmae`", "line 11: ", "[component.fron]", "no SQLite databases"] {
        assert!(log.contains(text), "{text}: {log}");
    }
}

#[tokio::test]
async fn a_required_variable_without_a_value_is_named() {
    let (status, log) = Setup::of(APPLICATION).fail().await;
    assert_eq!(status, 64, "{log}");
    assert!(log.contains("`variables.token` is required: set SPIN_VARIABLE_TOKEN"), "{log}");
}

#[tokio::test]
async fn allowed_hosts_that_a_variable_makes_wrong_are_found_at_the_start() {
    let manifest = APPLICATION.replace("\"http://self\"", "\"http://{{ greeting }}\"");
    let setup = Setup::of(&manifest).env("SPIN_VARIABLE_TOKEN", "t").env("SPIN_VARIABLE_GREETING", "a b");
    let (status, log) = setup.fail().await;
    assert_eq!(status, 64, "{log}");
    assert!(log.contains("[component.front]: allowed_outbound_hosts"), "{log}");
}

#[tokio::test]
async fn components_that_cannot_run_here_are_all_named() {
    let components = r#"
        [component.absent]
        source = "absent.wasm"
        build = { command = "make absent" }
        [component.text]
        source = "text.wasm"
        [component.old]
        source = "old.wasm"
        [component.greedy]
        source = "greedy.wasm"
    "#;
    let setup = Setup::of(&format!("{APPLICATION}{components}"))
        .env("SPIN_VARIABLE_TOKEN", "t")
        .file("text.wasm", b"no component")
        .file("old.wasm", &component(&[instance(), export("fermyon:spin/inbound-http")]))
        .file("greedy.wasm", &component(&[import("acme:own/things@1.0.0"), export("wasi:http/handler@0.3.0")]));
    let (status, log) = setup.fail().await;
    assert_eq!(status, 64, "{log}");
    for text in [
        "[component.absent]: there is no ",
        "build it: make absent",
        "[component.text]: ",
        "[component.old]: it exports fermyon:spin/inbound-http",
        "[component.greedy]: it imports acme:own/things@1.0.0, which neither this host nor Spin has",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert!(!log.contains("[component.front]"), "{log}");
}

#[tokio::test]
async fn an_application_can_be_checked_without_being_served() {
    let (status, log) = Setup::new().args(&["--check"]).fail().await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("loaded"), "{log}");
}

#[tokio::test]
async fn a_port_in_use_and_an_absent_manifest_are_said_plainly() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, log) = Setup::new().args(&["--listen", &address]).fail().await;
    assert_eq!(status, 1, "{log}");
    assert!(log.contains(&format!("cannot listen on {address}; choose another address with --listen")), "{log}");
    let (status, log) = Setup::new().args(&["--manifest", "/nowhere/spin.toml"]).fail().await;
    assert_eq!(status, 64, "`--manifest` twice: {log}");
}

/// The application above, with a value of a variable that is for loopback alone.
fn guarded() -> String {
    let guard = "version = \"1.2.3\"\n[application.tool.towpath-host]\nloopback_only = { greeting = \"hello\" }";
    APPLICATION.replace("version = \"1.2.3\"", guard)
}

#[tokio::test]
async fn a_value_for_loopback_alone_listens_nowhere_else_unless_allowed_by_name() {
    let start = |arguments: &[&str]| Setup::of(&guarded()).env("SPIN_VARIABLE_TOKEN", "s3cret").args(arguments);
    for everywhere in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        for others in [&["--check"][..], &["--check", "--allow-beyond-loopback", "token"]] {
            let (status, log) = start(&[&["--listen", everywhere], others].concat()).fail().await;
            assert_eq!(status, 64, "{everywhere}: {log}");
            for text in ["loopback_only.greeting", "SPIN_VARIABLE_GREETING", "--allow-beyond-loopback greeting"] {
                assert!(log.contains(text), "{text}: {log}");
            }
        }
    }
    for here in ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let (status, log) = start(&["--check", "--listen", here]).fail().await;
        assert_eq!(status, 0, "{here}: {log}");
    }
    let allowed = &["--check", "--listen", "0.0.0.0:0", "--allow-beyond-loopback", "token,greeting"];
    let (status, log) = start(allowed).fail().await;
    assert_eq!(status, 0, "{log}");
    let other = start(&["--check", "--listen", "0.0.0.0:0"]).env("SPIN_VARIABLE_GREETING", "good day");
    let (status, log) = other.fail().await;
    assert_eq!(status, 0, "another value: {log}");
    let spaced = start(&["--check", "--listen", "0.0.0.0:0"]).env("SPIN_VARIABLE_GREETING", " hello ");
    assert_eq!(spaced.fail().await.0, 64, "components read values without the spaces around them");
}

#[tokio::test]
async fn a_value_for_loopback_alone_is_refused_where_it_would_be_served() {
    // Also by the environment, as a container sets it.
    let setup = Setup::of(&guarded()).env("SPIN_VARIABLE_TOKEN", "s3cret").args(&["--listen", "0.0.0.0:0"]);
    let (status, log) = setup.fail().await;
    assert_eq!(status, 64, "{log}");
    assert!(log.contains("doesn't listen beyond loopback, on 0.0.0.0:0"), "{log}");
}

#[tokio::test]
async fn this_repositorys_sandbox_is_for_loopback_alone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
    let own = Manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
    let guarded = own.loopback_only.get("payment_provider").map(|located| located.value.as_str());
    assert_eq!(guarded, Some("sandbox"));
    assert_eq!(own.variables["payment_provider"].default.as_deref(), Some("sandbox"));
}

#[tokio::test]
async fn a_wrong_command_line_is_64_and_help_is_0() {
    for (arguments, expected) in [
        (["--listen", "nowhere"], 64),
        (["--request-timeout", "5"], 64),
        (["--no-such-flag", "x"], 64),
        (["--max-instances", "0"], 64),
        (["--check", "--help"], 0),
        (["--check", "--version"], 0),
    ] {
        assert_eq!(Setup::new().args(&arguments).fail().await.0, expected, "{arguments:?}");
    }
}

#[test]
fn the_repositorys_own_manifest_is_one_that_spin_and_this_host_take() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest = Manifest::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(manifest.components.contains_key("gateway"), "{:?}", manifest.components.keys());
}

/// A WebAssembly component of the given sections.
fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id, content.len() as u8], content].concat()
}

/// An empty instance.
fn instance() -> Vec<u8> {
    section(5, &[1, 1, 0])
}

/// Exports the first instance under a name.
fn export(name: &str) -> Vec<u8> {
    section(11, &[&[1, 0, name.len() as u8], name.as_bytes(), &[5, 0, 0]].concat())
}

/// Imports an instance of an empty type under a name.
fn import(name: &str) -> Vec<u8> {
    let import = section(10, &[&[1, 0, name.len() as u8], name.as_bytes(), &[5, 0]].concat());
    [section(7, &[1, 0x42, 0]), import].concat()
}
