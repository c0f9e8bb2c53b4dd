//! `towpath new`: another Spin application behind a relay of its own.
mod name;
mod place;
mod template;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use towpath_stack::checkout;
use towpath_stack::terminal::{print, say};

use self::name::Name;
use self::template::{Language, Place};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Makes a folder with a component, spin.toml, relay.toml, a migration, a subscription, tests that pass, and a README that
says what to do next. In that folder, `towpath up` runs this application, with databases, Kafka, Redis and a relay of its own
under .towpath/ there; so do status, logs, psql, dlq and the others.

NAME is the application's, its service's and its database's: words of a-z and 0-9 with - between them, each beginning with a
letter, 40 characters at most.

Examples:
  towpath new shop-reviews                     in the new folder shop-reviews
  towpath new shop-reviews --dir ~/src/reviews in another folder
  towpath new shop-reviews --dir .             in this folder, if it is empty
  towpath new shop-reviews --language python   with a component in Python
  towpath new shop-reviews --language javascript
  cd shop-reviews && ../towpath up             build and start it"
)]
pub(crate) struct Args {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: Name,
    /// Where it goes: a folder that is empty or not there [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the component is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
}

pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let root = checkout::repository()?;
    let folder = args.dir.clone().unwrap_or_else(|| args.name.as_str().into());
    let place = Place { root: &root, name: &args.name };
    place::put(&folder, &template::files(args.language, &place)?)?;
    let towpath = template::shell_word(&template::towpath(&root, &folder)?);
    say(&format!("Made {} in {}. Its README.md says what is where. Next:", args.name.as_str(), folder.display()));
    for line in [
        format!("  cd {}", template::shell_word(&folder.display().to_string())),
        format!("  {}", args.language.tests()),
        format!("  {towpath} up --detach"),
    ] {
        print(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}
