//! docs/promises.md and `chaos --list` name the same faults: a fault that no promise names would test nothing.

use std::path::Path;
use std::process::Command;

use towpath_tests::Stack;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn promises() -> String {
    std::fs::read_to_string(root().join("docs/promises.md")).expect("docs/promises.md")
}

/// What stands between backticks in the cells of this column (from 0) of the table.
fn quoted(text: &str, column: usize) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = rows.filter_map(|row| row.split(" | ").nth(column));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_promises_name_every_fault_and_no_other() {
    let command = std::env::var("TOWPATH_TEST_CLI").expect("TOWPATH_TEST_CLI: `./towpath test` sets it");
    let home = Stack::shared().home;
    let listed = Command::new(command).arg("--home").arg(home).args(["chaos", "--list"]).output().expect("the list");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let faults: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let text = promises();
    let named = quoted(&text, 1);
    assert!(faults.len() > 20 && named.len() > 15, "{faults:?} {named:?}");
    let matches = |name: &str, fault: &str| match name.strip_suffix('*') {
        Some(beginning) => fault.starts_with(beginning),
        None => fault == name,
    };
    for name in &named {
        assert!(faults.iter().any(|fault| matches(name, fault)), "no fault is called {name}: {faults:?}");
    }
    let unnamed: Vec<_> = faults.iter().filter(|fault| !named.iter().any(|name| matches(name, fault))).collect();
    assert!(unnamed.is_empty(), "docs/promises.md names no promise that these faults test: {unnamed:?}");
}
