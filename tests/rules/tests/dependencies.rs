//! Who may depend on whom, and what is built anew after a change, by `cargo metadata`.

#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use towpath_rules::{none, root};

/// Each package of the workspace with those of the workspace that it may depend on. Dependencies of tests are free.
const ALLOWED: &[(&str, &[&str])] = &[
    // The WebAssembly side knows the relay's interface and nothing behind it.
    ("towpath-wire", &[]),
    ("towpath-log", &[]),
    ("towpath-sdk", &["towpath-log", "towpath-wire"]),
    ("towpath-identity", &["towpath-sdk"]),
    ("towpath-gateway", &["towpath-identity", "towpath-sdk"]),
    ("towpath-product", &["towpath-sdk"]),
    ("towpath-inventory", &["towpath-sdk"]),
    ("towpath-order", &["towpath-sdk"]),
    ("towpath-payment", &["towpath-sdk"]),
    ("towpath-component-testing", &["towpath-sdk"]),
    // The relay and the host know no application, and not each other.
    ("towpath-relay", &["towpath-log", "towpath-wire"]),
    ("towpath-host", &["towpath-log"]),
    ("towpath-host-guest", &[]),
    // The command starts relay and host as programs. What only looks at a stack doesn't know who runs it.
    ("towpath-stack", &[]),
    ("towpath-client", &[]),
    ("towpath-fault-proxy", &[]),
    ("towpath-kafka-admin", &[]),
    ("towpath-audit", &["towpath-stack"]),
    ("towpath-bench", &["towpath-client", "towpath-stack"]),
    ("towpath-chaos", &["towpath-audit", "towpath-client", "towpath-fault-proxy", "towpath-stack"]),
    (
        "towpath-cli",
        &["towpath-audit", "towpath-bench", "towpath-chaos", "towpath-client", "towpath-kafka-admin", "towpath-stack"],
    ),
    // Tests.
    ("towpath-fuzz", &[]),
    ("towpath-rules", &[]),
    ("towpath-tests", &["towpath-audit", "towpath-client", "towpath-relay", "towpath-stack"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`; null for what the package itself is built with.
    kind: Option<String>,
    path: Option<String>,
}

fn packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

#[test]
fn packages_depend_on_those_that_architecture_md_allows() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, on)| (*name, on.iter().copied().collect())).collect();
    let packages = packages();
    let mut faults = Vec::new();
    for package in &packages {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            faults.push(format!("{} has no line in ALLOWED", package.name));
            continue;
        };
        let own = package.dependencies.iter().filter(|on| on.path.is_some() && on.kind.as_deref() != Some("dev"));
        let wrong = own.filter(|on| !allowed.contains(on.name.as_str()));
        faults.extend(wrong.map(|on| format!("{} must not depend on {}", package.name, on.name)));
    }
    let known: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    faults.extend(allowed.keys().filter(|name| !known.contains(*name)).map(|name| format!("{name} is no package")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The folders of these packages and of all that they are made from, by their paths in the repository.
fn made_from(names: &[&str]) -> BTreeSet<String> {
    let (root, packages) = (root(), packages());
    let mut folders = BTreeSet::new();
    let mut left: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = left.pop() {
        let package = packages.iter().find(|package| package.name == name).unwrap();
        let folder = package.manifest_path.parent().unwrap().strip_prefix(&root).unwrap();
        if folders.insert(folder.to_str().unwrap().to_owned()) {
            let own = package.dependencies.iter().filter(|on| on.path.is_some() && on.kind.as_deref() != Some("dev"));
            left.extend(own.map(|on| on.name.clone()));
        }
    }
    folders
}

#[test]
fn the_command_builds_anew_what_its_programs_are_made_from() {
    let script = fs::read_to_string(root().join("towpath")).unwrap();
    let listed = script.split("sources=(\"$root\"/{").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let listed: BTreeSet<&str> = listed.split(',').collect();
    let made_from = made_from(&["towpath-cli", "towpath-relay", "towpath-host"]);
    let covers = |listed: &str, folder: &str| folder == listed || folder.starts_with(&format!("{listed}/"));
    let mut faults = Vec::new();
    for folder in made_from.iter().filter(|folder| !listed.iter().any(|listed| covers(listed, folder))) {
        faults.push(format!("towpath: `sources` lacks {folder}"));
    }
    let folders = listed.iter().filter(|listed| root().join(listed).is_dir());
    for folder in folders.filter(|listed| !made_from.iter().any(|folder| covers(listed, folder))) {
        faults.push(format!("towpath: `sources` names {folder}, and no program is made from it"));
    }
    for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"] {
        if !listed.contains(file) {
            faults.push(format!("towpath: `sources` lacks {file}"));
        }
    }
    none(&faults);
}

#[test]
fn spin_watches_what_a_component_is_made_from() {
    let spin: toml::Table = fs::read_to_string(root().join("spin.toml")).unwrap().parse().unwrap();
    for (name, component) in spin["component"].as_table().unwrap() {
        let watched = component["build"]["watch"].as_array().unwrap();
        let watched: BTreeSet<String> = watched.iter().map(|glob| glob.as_str().unwrap().to_owned()).collect();
        let made_from = made_from(&[&format!("towpath-{name}")]);
        let expected: BTreeSet<String> = made_from.iter().map(|folder| format!("{folder}/**/*.rs")).collect();
        assert_eq!(watched, expected, "spin.toml: `watch` of {name}");
    }
}

/// On GitHub and on docs.rs a reader begins with the same page.
#[test]
fn every_package_has_a_readme_that_is_its_documentation() {
    let mut faults = Vec::new();
    for package in packages() {
        let folder = package.manifest_path.parent().unwrap();
        if !folder.join("README.md").is_file() {
            faults.push(format!("{}: there is no README.md", folder.display()));
        }
        let library = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        if !library.starts_with("#![doc = include_str!(\"../README.md\")]\n") {
            faults.push(format!("{}: src/lib.rs doesn't begin with its README.md", folder.display()));
        }
    }
    none(&faults);
}
