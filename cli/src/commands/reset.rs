//! `towpath reset`: deletes all data of a stack.
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::terminal::say;

use super::down;
use crate::dot_env::DotEnv;
use crate::servers::{compose, postgres};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stops the stack, and deletes its databases, topics, logs and secrets. The next `towpath up` begins anew.

Examples:
  towpath reset           asks first
  towpath reset --yes     doesn't"
)]
pub(crate) struct Args {
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    if !home.path().exists() && !postgres::fallback(home).exists() {
        say(&format!("There is nothing under {}.", home.path().display()));
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !confirmed(home)? {
        say("Nothing was deleted.");
        return Ok(ExitCode::FAILURE);
    }
    down::stop(home).await?;
    let root = checkout::repository()?;
    if compose::was_used(home) {
        compose::Project::new(home, &root.join("infra")).remove().await?;
    }
    // Only what Towpath itself makes: other files in that folder stay.
    for folder in [home.data(), home.logs(), home.run(), postgres::fallback(home)] {
        remove(&folder, |path| std::fs::remove_dir_all(path))?;
    }
    remove(&home.secrets_file(), |path| std::fs::remove_file(path))?;
    DotEnv::new(&checkout::application()?, home).remove();
    let _ = std::fs::remove_dir(home.path());
    say(&format!("All data under {} is deleted.", home.path().display()));
    let left = left(home);
    if !left.is_empty() {
        say(&format!("What Towpath didn't make is still there: {}", left.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// What still lies in the home.
fn left(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.path()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn confirmed(home: &Home) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask on: `{}` deletes all data without asking", home.command("reset --yes"));
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "This deletes all databases, topics and logs under {}. Type yes: ", home.path().display())?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn remove(path: &Path, remove: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", path.display()))
        }
        _ => Ok(()),
    }
}
