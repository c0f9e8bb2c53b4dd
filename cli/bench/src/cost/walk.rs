//! How large files are.

use std::fs;
use std::path::Path;

/// The bytes of all files under a folder that end so; a file that goes meanwhile counts nothing.
pub(super) fn bytes_under(folder: &Path, extension: &str) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match (entry.metadata(), entry.path()) {
            (Ok(found), path) if found.is_dir() => bytes_under(&path, extension),
            (Ok(found), path) if path.extension().is_some_and(|is| is == extension) => found.len(),
            _ => 0,
        })
        .sum()
}
