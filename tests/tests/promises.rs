//! docs/promises.md names only what is there: a promise whose test was renamed away would be one that nothing tests.

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
fn every_test_that_is_named_exists() {
    let text = promises();
    let tests: Vec<_> = quoted(&text, 2).into_iter().filter_map(|name| name.split_once("::")).collect();
    assert!(tests.len() > 20, "the table can be read: {tests:?}");
    for (file, function) in tests {
        let code = std::fs::read_to_string(root().join(file)).unwrap_or_else(|cause| panic!("{file}: {cause}"));
        assert!(code.contains(&format!("fn {function}(")), "there is no {function} in {file}");
    }
}

#[test]
fn every_fault_that_is_named_exists() {
    let command = std::env::var("TOWPATH_TEST_CLI").expect("TOWPATH_TEST_CLI: `./towpath test` sets it");
    let home = Stack::shared().home;
    let listed = Command::new(command).arg("--home").arg(home).args(["chaos", "--list"]).output().expect("the list");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let faults: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let text = promises();
    let named = quoted(&text, 1);
    assert!(faults.len() > 20 && named.len() > 15, "{faults:?} {named:?}");
    for name in named {
        let exists = match name.strip_suffix('*') {
            Some(beginning) => faults.iter().any(|fault| fault.starts_with(beginning)),
            None => faults.contains(&name),
        };
        assert!(exists, "no fault is called {name}: {faults:?}");
    }
}
