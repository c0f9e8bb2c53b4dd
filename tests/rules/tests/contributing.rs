//! What CONTRIBUTING.md lists is all that there is.

#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]

use std::collections::BTreeSet;
use std::fs;

use towpath_rules::{files, none, root};

fn page() -> String {
    fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap()
}

/// The table below a title.
fn part<'p>(page: &'p str, title: &str) -> &'p str {
    let rest = page.split(&format!("\n## {title}\n")).nth(1).unwrap_or_else(|| panic!("no {title}"));
    rest.split("\n## ").next().unwrap()
}

#[test]
fn every_component_stands_where_its_tests_do() {
    let page = page();
    let table = part(&page, "What can be run");
    let mut faults = Vec::new();
    for entry in fs::read_dir(root().join("components")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let spelled = [format!("`{name}`"), format!("-p towpath-{name}`"), format!("-p towpath-component-{name}`")];
        if !spelled.iter().any(|spelled| table.contains(spelled)) {
            faults.push(format!("CONTRIBUTING.md, \"What can be run\", doesn't name {name}"));
        }
    }
    none(&faults);
}

#[test]
fn every_program_of_tests_that_needs_servers_is_listed() {
    let page = page();
    let table = part(&page, "What can be run");
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in files("", "Cargo.toml").into_iter().filter(|(path, _)| !path.contains("/templates/")) {
        let manifest: toml::Table = text.parse().unwrap();
        let package = manifest.get("package").and_then(toml::Value::as_table);
        let needs = package.and_then(|package| package.get("metadata")?.get("needs")?.as_table());
        for program in needs.into_iter().flat_map(toml::Table::keys) {
            seen += 1;
            // One row stands for all programs of the host.
            let listed = path == "host/Cargo.toml"
                || table.contains(&format!("--test {program}`"))
                || table
                    .lines()
                    .filter_map(|row| row.split("(also").nth(1)?.split(')').next())
                    .any(|also| also.contains(&format!("`{program}`")));
            if !listed {
                faults.push(format!("CONTRIBUTING.md, \"What can be run\", lacks {program} of {path}"));
            }
        }
    }
    assert!(seen > 20, "{seen} programs need something");
    none(&faults);
}

#[test]
fn every_variable_that_tests_read_is_listed() {
    let page = page();
    let table = part(&page, "Environment variables");
    let mut names = BTreeSet::new();
    for (_, text) in files("", ".rs") {
        for call in ["var(\"", "var_os(\""] {
            let read = text.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(read.filter(|name| name.starts_with("TOWPATH_TEST_")).map(str::to_owned));
        }
    }
    assert!(names.len() > 5, "{names:?}");
    let missing = names.iter().filter(|name| !table.contains(&format!("`{name}`")));
    none(&missing.map(|name| format!("CONTRIBUTING.md doesn't explain {name}")).collect::<Vec<_>>());
}
