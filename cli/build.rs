//! What the command was built from, for `towpath --version`.
use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `./towpath` sets it. Plain cargo would not see when a commit or a change made it untrue.
    println!("cargo::rerun-if-env-changed=TOWPATH_SOURCE");
    let source = var("TOWPATH_SOURCE").unwrap_or_else(|_| "not known: built by cargo and not by ./towpath".to_owned());
    let compiler = var("RUSTC").ok().and_then(|rustc| Command::new(rustc).arg("--version").output().ok());
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=TOWPATH_SOURCE={source}");
    println!("cargo::rustc-env=TOWPATH_TARGET={}", var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=TOWPATH_COMPILER={}", compiler.unwrap_or_default().trim_start_matches("rustc "));
}
