//! nginx, for the tests of the proxy that stands before Spin. Debian's package would start a service if it were installed: the
//! program alone is taken out of it, once.
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::checkout;
use towpath_stack::programs::in_path;
use towpath_stack::terminal::say;

use crate::group;

/// A machine that has just been made has no lists of packages yet; root may fetch them.
const FETCH: &str = "fetch() { apt-get download -qq nginx; }
fetch || { apt-get update -qq && fetch; } && dpkg-deb -x nginx_*.deb .";

/// The program: the one that is installed, or the one in the cache.
pub(super) async fn program() -> Result<PathBuf> {
    if let Some(installed) =
        in_path("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|it| it.is_file()))
    {
        return Ok(installed);
    }
    let folder = checkout::cache()?.join("nginx");
    let program = folder.join("usr/sbin/nginx");
    if !program.is_file() {
        say("There is no nginx here: taking it out of Debian's package, for the tests alone");
        let new = folder.with_extension(format!("new-{}", std::process::id()));
        std::fs::create_dir_all(&new)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", FETCH]).current_dir(&new);
        let output = group::output(shell.stdin(Stdio::null()).stderr(Stdio::piped())).await?;
        if !output.status.success() || !new.join("usr/sbin/nginx").is_file() {
            let _ = std::fs::remove_dir_all(&new);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("nginx can't be taken from Debian's packages: {}. Install it, or run `apt-get update`", said.trim());
        }
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&new, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(program)
}
