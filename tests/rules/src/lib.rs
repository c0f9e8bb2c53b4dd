#![doc = include_str!("../README.md")]

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
///
/// # Panics
/// Where it is gone.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// All files below a folder of the repository whose names end so, by their paths in it, with their texts. Without what was
/// built, and folders that begin with a dot.
///
/// # Panics
/// Where one can't be read, or none is there.
#[must_use]
pub fn files(below: &str, end: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(entry);
            } else if name.ends_with(end) {
                let path = entry.strip_prefix(&root).expect("it is below").to_string_lossy().into_owned();
                found.push((path, fs::read_to_string(&entry).expect("a text")));
            }
        }
    }
    assert!(!found.is_empty(), "{below} has no file that ends with {end}");
    found
}

/// Fails with every fault, where there is any.
///
/// # Panics
/// Where there is one.
#[track_caller]
pub fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
