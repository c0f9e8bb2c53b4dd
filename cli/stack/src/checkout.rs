//! The checkout that this program works for, and what belongs to it and not to one stack.
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The checkout: what `./towpath` says, or the folder above that has `spin.toml` and `infra/`.
pub fn repository() -> Result<PathBuf> {
    if let Some(root) = std::env::var_os("TOWPATH_ROOT") {
        return Ok(PathBuf::from(root));
    }
    let executable = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let found = [executable, here]
        .into_iter()
        .flatten()
        .find_map(|start| start.ancestors().find(|folder| folder.join("infra/native").is_dir()).map(Path::to_path_buf));
    match found {
        Some(root) => Ok(root),
        None => {
            bail!("this is no Towpath checkout: run ./towpath from the checkout, or set TOWPATH_ROOT to its folder")
        }
    }
}

/// What all checkouts of this user share: Kafka's jars, small tools.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TOWPATH_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(base.context("neither HOME nor TOWPATH_CACHE is set: no place for what is downloaded")?.join("towpath"))
}

/// Names another relay.toml, for a stack whose relay has other services or other settings.
pub const RELAY_CONFIG: &str = "TOWPATH_RELAY_CONFIG";

/// The relay.toml of the stack: the one that [`RELAY_CONFIG`] names, or the checkout's.
#[must_use]
pub fn relay_config(root: &Path) -> OsString {
    std::env::var_os(RELAY_CONFIG).unwrap_or_else(|| root.join("relay.toml").into_os_string())
}
