//! Who may depend on whom, by `cargo metadata`.

#![allow(clippy::unwrap_used, reason = "a test that can't read its sources has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

/// Each package of the workspace with those of the workspace that it may depend on. Dependencies of tests are free.
const ALLOWED: &[(&str, &[&str])] = &[
    // The WebAssembly side knows the relay's interface and nothing behind it.
    ("towpath-wire", &[]),
    ("towpath-log", &[]),
    ("towpath-sdk", &["towpath-log", "towpath-wire"]),
    ("towpath-gateway", &["towpath-sdk"]),
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
