//! `towpath test`: runs the tests on servers that it starts before and throws away after, beside any running stack.
mod choice;
mod nginx;
mod place;
mod runner;
mod schemathesis;
mod servers;
mod stripe;
mod tally;
mod threads;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::services::Services;
use towpath_stack::signals::Signals;
use towpath_stack::terminal::{print, say};

use self::choice::{Choice, Need, Workspace};
use self::place::TestPlace;
use self::runner::Run;
use self::servers::{Made, TestPlan};
use self::tally::Tally;
use super::INTERRUPTED;
use super::up::{prepare_kafka, prepare_programs};
use crate::edge::Runtime;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::spin;
use crate::supervisor::Supervisor;
use crate::wasm;

/// The component that the host's own tests run.
const GUEST: &str = "towpath-host-guest";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Finds out which test programs the chosen tests are in and what those need (their Cargo.toml says it, under
package.metadata.needs), builds and starts that and no more, on ports and folders of its own, and removes it afterwards.
After a failure the logs stay until the next run.

Examples:
  towpath test                                   everything
  towpath test replay                            the tests with this in their names, or in their modules'
  towpath test replay stalled                    those that have one or the other
  towpath test -p towpath-order                  the tests of one package: these need no server
  towpath test -p towpath-relay outbox           of one package, those whose names contain a word
  towpath test -p towpath-tests --test black_box the black box alone
  towpath test --runtime spin --test black_box   the black box, with its components on Spin (docs/spin.md)
  towpath test replay -- --nocapture             what follows -- goes to the tests

Exit status: 0 where every test passed, 1 where one failed or none was run."
)]
pub(crate) struct Args {
    /// What runs the components of the stacks that tests use [default: embedded]
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// Parts of tests' names, and what `cargo test` takes: packages, programs
    #[arg(allow_hyphen_values = true, value_name = "NAME|OPTION")]
    arguments: Vec<String>,
    /// What the test programs are told
    #[arg(last = true, allow_hyphen_values = true, value_name = "OPTION OF THE TESTS")]
    tests: Vec<String>,
}

impl Args {
    /// What stands before `--`, and what behind it. A `--` behind other arguments is one of them to clap.
    pub(crate) fn divided(&self) -> (&[String], Vec<String>) {
        let before = self.arguments.iter().position(|argument| argument == "--").unwrap_or(self.arguments.len());
        let behind = self.arguments[before..].iter().skip(1).chain(&self.tests).cloned();
        (&self.arguments[..before], behind.collect())
    }
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut progress = Progress::begin();
    let began = Instant::now();
    home.create()?;
    if args.runtime == Some(Runtime::Spin) {
        spin::check().await?;
    }
    let root = checkout::repository()?;
    let (chosen, tests) = args.divided();
    let choice = Workspace::load(&root).await?.choose(chosen)?;
    let run = Run::new(&choice, &tests);
    let place = TestPlace::new(home).await?;
    let prepared = tokio::select! {
        prepared = prepare(&choice, &run, &place, args.runtime, &mut progress) => Some(prepared),
        () = signals.next() => None,
    };
    let outcome = match prepared {
        Some(Ok(plan)) => with_servers(&choice, &run, &place, plan, &mut progress, &mut signals).await,
        Some(Err(error)) => Err(error),
        None => Ok(None),
    };
    let passed = matches!(&outcome, Ok(Some(tally)) if tally.is_success());
    let left = tokio::select! {
        left = place.clean(passed) => left,
        () = signals.next() => bail!("stopped before everything was cleaned up: the next `towpath test` does it"),
    };
    let Some(tally) = outcome? else { return Ok(ExitCode::from(INTERRUPTED)) };
    left?;
    for line in progress.summary() {
        say(&line);
    }
    for line in tally.summary(began.elapsed()) {
        print(&line)?;
    }
    if !passed && !choice.needs.is_empty() {
        say(&format!("The logs of the servers stay in {} until the next run.", place.path().display()));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that can be done before a server is started.
async fn prepare(
    choice: &Choice,
    run: &Run,
    place: &TestPlace,
    runtime: Option<Runtime>,
    progress: &mut Progress,
) -> Result<TestPlan> {
    let root = checkout::repository()?;
    let needs = &choice.needs;
    let any = |what: fn(Need) -> bool| needs.iter().copied().any(what);
    let mut made = Made { jars: None, stripe: None, schemathesis: None, nginx: None };
    if any(Need::kafka) {
        made.jars = Some(prepare_kafka(&root, progress).await?);
    } else if any(Need::programs) {
        prepare_programs(progress).await?;
    }
    if needs.contains(&Need::StripeMock) {
        made.stripe = Some(progress.step("stripe-mock", stripe::program()).await?);
    }
    if needs.contains(&Need::Nginx) {
        made.nginx = Some(progress.step("nginx", nginx::program()).await?);
    }
    if needs.contains(&Need::Schemathesis) {
        made.schemathesis = Some(progress.step("schemathesis", schemathesis::program(&root)).await?);
    }
    let services = Services::load()?;
    let components = services.packages().filter(|_| any(Need::components));
    let packages: Vec<&str> = components.chain(needs.contains(&Need::Guest).then_some(GUEST)).collect();
    if !packages.is_empty() {
        progress.say("Building the components");
        progress.step("components", wasm::build(&root, &packages)).await?;
    }
    progress.say("Building the tests");
    progress.step("tests' build", run.build(&root)).await?;
    servers::plan(place, &root, &services, needs, &made, runtime)
}

/// Runs the tests on their servers; none where a signal came first. Either way the servers have stopped afterwards.
async fn with_servers(
    choice: &Choice,
    run: &Run,
    place: &TestPlace,
    plan: TestPlan,
    progress: &mut Progress,
    signals: &mut Signals,
) -> Result<Option<Tally>> {
    let root = checkout::repository()?;
    let (supervisor, tasks) = Supervisor::new(place.home(), place.lock()?, plan.plan, Screen::lines())?;
    let work = async {
        progress.step("servers", supervisor.boot(tasks)).await?;
        let tally = progress.step("tests", run.run(&root, &plan.environment)).await?;
        if choice.needs.contains(&Need::Stack) && tally.is_success() {
            progress.say("Auditing the stack that the tests have used");
            runner::audit(&place.stack()).await?;
        }
        Ok(tally)
    };
    let outcome = tokio::select! {
        outcome = work => outcome.map(Some),
        () = signals.next() => Ok(None),
    };
    supervisor.shut_down(signals.next()).await;
    drop(plan.reserved);
    outcome
}
