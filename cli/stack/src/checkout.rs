//! The checkout that this program is from, the application that it works for, and what belongs to neither.
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

/// The application that the command works for: the nearest folder, from the current one upwards, with spin.toml and
/// relay.toml. Where there is none, or where it is a checkout of Towpath, it is [`repository`], whose application is the shop.
pub fn application() -> Result<PathBuf> {
    let root = repository()?;
    let here = std::env::current_dir().context("the current folder is gone")?;
    Ok(another_application(&here).unwrap_or(root))
}

/// Whether the command works for another application than Towpath's own shop.
pub fn works_for_another() -> Result<bool> {
    Ok(application()? != repository()?)
}

fn another_application(here: &Path) -> Option<PathBuf> {
    let has = |folder: &&Path| folder.join("spin.toml").is_file() && folder.join("relay.toml").is_file();
    let found = here.ancestors().find(has)?;
    (!found.join("infra/native").is_dir()).then(|| found.to_path_buf())
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

/// The relay.toml of the stack: the one that [`RELAY_CONFIG`] names, or the application's.
#[must_use]
pub fn relay_config(application: &Path) -> OsString {
    std::env::var_os(RELAY_CONFIG).unwrap_or_else(|| application.join("relay.toml").into_os_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, root};

    #[test]
    fn an_application_is_found_from_each_of_its_folders_and_a_checkout_is_none() {
        let folder = TempDir::new();
        let (app, inner) = (folder.path().join("app"), folder.path().join("app/src/inner"));
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(another_application(&inner), None);
        std::fs::write(app.join("spin.toml"), "").unwrap();
        assert_eq!(another_application(&inner), None, "Spin's manifest alone is no application with a relay");
        std::fs::write(app.join("relay.toml"), "").unwrap();
        assert_eq!(another_application(&inner), Some(app.clone()));
        assert_eq!(another_application(folder.path()), None);
        assert_eq!(another_application(&root().canonicalize().unwrap().join("cli/src")), None);
    }
}
