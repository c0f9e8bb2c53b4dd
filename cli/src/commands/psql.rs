//! `towpath psql`: psql on the database of a service.
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::programs;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::State;

use crate::supervisor::probe::Probe;

/// How long a server may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  towpath psql order                                            a prompt, as the superuser
  towpath psql order -- -c 'select id, status from orders'      one statement
  towpath psql inventory -- -Atc 'select * from stock' | sort   for other programs
Services: product, order, payment, inventory")]
pub(crate) struct Args {
    /// The service that owns the database
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Arguments for psql
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let services = Services::load()?;
    if !services.databases().any(|service| service == args.service) {
        let known: Vec<&str> = services.databases().collect();
        bail!("no service {:?} has a database: there are {}", args.service, known.join(", "));
    }
    let state = State::running(home)?;
    let part = ports::database(&args.service);
    state.needs(home, std::slice::from_ref(&part))?;
    let secrets = Secrets::load(home)?;
    let program = match programs::in_path("psql") {
        Some(program) => program,
        None => programs::postgres()?.programs.join("psql"),
    };
    let port = state.ports.get(&part)?;
    // psql itself would wait for ever, and not say for whom.
    let url = format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", secrets.postgres(&args.service));
    Probe::Postgres { url, lock: None }.wait(&part, PATIENCE).await?;
    // By the environment: a command line is there for all to see.
    let error = Command::new(&program)
        .env("PGPASSWORD", secrets.postgres(&args.service))
        .args(["--host=127.0.0.1", "--username=postgres"])
        .args([format!("--port={port}"), format!("--dbname={}", args.service)])
        .args(&args.arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
