//! What docs/command.md says is so: exit statuses, JSON, colours, versions. Through pipes, as scripts see it, and through a
//! pseudo-terminal, as people do.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use support::terminal::Terminal;
use support::{Home, outcome, repository};

fn page() -> String {
    fs::read_to_string(repository().join("docs/command.md")).unwrap()
}

/// The first cells of the table with this head.
fn first_cells(head: &str) -> Vec<String> {
    let page = page();
    let rows = page.split_once(&format!("| {head} |")).unwrap_or_else(|| panic!("no table {head}")).1;
    let rows = rows.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

/// All that `towpath LINE` writes to a terminal of 60 columns.
fn on_a_terminal(home: &Home, line: &str, variables: &[(&str, &str)]) -> String {
    Terminal::run(home, line, (24, 60), variables).end().2
}

#[test]
fn every_exit_status_of_the_page_is_known_here() {
    let statuses: BTreeSet<String> = first_cells("status").into_iter().collect();
    // Who adds one adds what shows it: below, in refusals.rs (chaos, status), in lifecycle.rs (0), and in guides.rs.
    assert_eq!(statuses, BTreeSet::from(["0", "1", "2", "3", "64", "130"].map(str::to_owned)));
}

#[test]
fn exit_statuses_are_those_of_the_page() {
    let home = Home::new();
    home.towpath(&["down"]).expect(0, &[]);
    home.towpath(&["migrate"]).expect(1, &["no stack runs"]);
    home.towpath(&["audit"]).expect(2, &["no stack runs"]);
    for wrong in [&["statsu"][..], &["up", "--replicas", "9"], &["new", "A"], &["completions", "csh"], &[]] {
        home.towpath(wrong).expect(2, &[]);
    }
    home.towpath(&["status"]).expect(3, &[]);
    home.towpath(&["chaos"]).expect(2, &["no stack runs"]);
    let nonsense = home.path().join("relay.toml");
    fs::write(&nonsense, "[relay]\nlistne = 7\n").unwrap();
    let mut relay = Command::new(std::path::Path::new(env!("CARGO_BIN_EXE_towpath")).with_file_name("towpath-relay"));
    outcome(relay.args(["dlq", "list", "--config"]).arg(&nonsense)).expect(64, &["listne"]);
}

#[test]
fn the_fields_of_the_status_are_those_of_the_page() {
    let home = Home::new();
    let status = home.towpath(&["status", "--json"]).expect(3, &[]).json();
    let fields: Vec<String> = status.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, first_cells("field"));
    let parts: BTreeSet<String> = status["parts"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(parts, BTreeSet::from(["name", "pid", "state", "address"].map(str::to_owned)));
    let page = page();
    let states = page.split_once("A `state` is ").unwrap().1.split_once('.').unwrap().0;
    for part in status["parts"].as_array().unwrap() {
        assert!(states.contains(&format!("`{}`", part["state"].as_str().unwrap())), "{part}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::new();
    let escape = '\u{1b}';
    assert!(on_a_terminal(&home, "statsu", &[]).contains(escape), "an error on a terminal");
    assert!(!on_a_terminal(&home, "statsu", &[("NO_COLOR", "1")]).contains(escape), "NO_COLOR");
    let piped = home.towpath(&["statsu"]);
    assert!(!piped.stderr.contains(escape), "{}", piped.stderr);
    for line in ["status", "--help", "--version"] {
        let said = home.towpath(&[line]);
        assert!(!said.stdout.contains(escape) && !said.stderr.contains(escape), "{line}");
    }
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    let home = Home::new();
    let help = on_a_terminal(&home, "up -h", &[("NO_COLOR", "1")]);
    let (options, examples) = help.split_once("Examples:").unwrap();
    assert!(examples.contains("towpath up"));
    let widest = options.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
    assert!((30..=60).contains(&widest), "{widest}: {help}");
}

#[test]
fn the_version_says_what_it_was_built_from() {
    let home = Home::new();
    assert_eq!(home.towpath(&["-V"]).expect(0, &[]).stdout, format!("towpath {}\n", env!("CARGO_PKG_VERSION")));
    let long = home.towpath(&["--version"]).expect(0, &[]).stdout;
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], format!("towpath {}", env!("CARGO_PKG_VERSION")));
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{long}"));
    assert!(value("target: ").contains(std::env::consts::ARCH), "{long}");
    assert!(value("rustc: ").starts_with("1."), "{long}");
    let commit = value("commit: ");
    let id = commit.split(',').next().unwrap();
    assert!(commit.starts_with("not known: ") || id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{long}");
}

/// Each script is loaded by its shell where that is installed; bash is.
#[test]
fn shells_complete_commands_and_their_options() {
    let home = Home::new();
    let script = |shell: &str| home.towpath(&["completions", shell]).expect(0, &[]).stdout;
    let file = home.path().join("completions.bash");
    fs::write(&file, script("bash")).unwrap();
    let complete = |words: &str, current: &str| {
        let line = format!(
            "source \"$1\"; COMP_WORDS=({words} '{current}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             $(complete -p towpath | grep -o -- '-F [^ ]*' | cut -c4-) towpath '{current}' prev; echo \"${{COMPREPLY[@]}}\""
        );
        outcome(Command::new("bash").args(["-c", &line, "bash"]).arg(&file)).expect(0, &[]).stdout
    };
    assert_eq!(complete("towpath", "rotate-t"), "rotate-tokens\n");
    assert_eq!(complete("towpath up", "--det"), "--detach\n");
    assert_eq!(complete("towpath dlq", "re"), "replay\n");
    assert!(script("zsh").starts_with("#compdef towpath"));
    assert!(script("fish").contains("complete -c towpath"));
}
