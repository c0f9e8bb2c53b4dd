//! The command line of the benchmark.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::timeout;
use towpath_stack::running::Running;
use towpath_stack::signals::Signals;
use towpath_stack::terminal::saying;

use super::compare::{compare, read};
use super::cost::Meter;
use super::figure::Figure;
use super::growth::{self, Work};
use super::plan::Plan;
use super::report::{FORM, Report};
use super::target::OwnStack;
use super::{events, hops, idle, memory, orders, overload, reads, units};

/// Measures a stack, each figure beside the same work without Towpath.
///
/// It starts a stack of its own on free ports and removes it afterwards, so it touches no other data. Stop other programs
/// that keep the machine busy: clients, servers and stack share its processors. What is compared takes turns, round by round,
/// and the median of the rounds is printed with the lowest and the highest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  towpath bench                            everything, on a stack of its own: some 15 minutes
  towpath bench --only reads,orders        some of it
  towpath bench --rounds 9 --seconds 10    longer, for smaller differences
  towpath bench --json new.json --compare old.json   what has moved since an earlier run
  towpath bench --only overload            five times the orders that the stack sustains
  towpath bench --only growth              200,000 units of work, and how large the relay's tables are meanwhile
  towpath bench --runtime spin             the same, with the components on Spin (docs/spin.md)
  towpath bench --url http://127.0.0.1:3000  a stack that runs: only orders, and they stay in it")]
pub struct Args {
    /// How often each figure is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each round is
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Numbers of clients to measure with, each client with a connection of its own
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "16,64",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say what has moved since the run that wrote this file
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Measure these [default: idle,hops,reads,units,events,orders]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", hide_default_value = true)]
    only: Vec<Part>,
    /// For --only growth: how many units of work
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    units: u64,
    /// For --only growth: how many units of work a second
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Measure the stack that answers here instead of one of its own
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What runs the components of its stack, as for `up`: embedded or spin [default: embedded]
    #[arg(long, value_name = "RUNTIME", value_parser = ["embedded", "spin"], conflicts_with = "url")]
    runtime: Option<String>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The processor of a stack that nobody uses
    Idle,
    /// GET /healthz through the host, beside a bare server
    Hops,
    /// GET of a cached product, beside /healthz
    Reads,
    /// Units of work through the relay, beside pgbench
    Units,
    /// A backlog of events, beside Kafka's own producer
    Events,
    /// Orders from the request to the confirmation, beside pgbench with their SQL
    Orders,
    /// Orders at five times the rate that the stack sustains
    Overload,
    /// The sizes of the relay's tables under steady load
    Growth,
}

const DEFAULT: [Part; 6] = [Part::Idle, Part::Hops, Part::Reads, Part::Units, Part::Events, Part::Orders];

/// Runs the benchmark, on a stack of its own or on the one that `--url` names.
pub async fn command(args: &Args) -> Result<ExitCode> {
    let parts = args.parts()?;
    let old = args.compare.as_deref().map(read).transpose()?;
    let plan = args.plan();
    let figures = match &args.url {
        Some(url) => {
            answers(url).await?;
            say("orders");
            orders::from_outside(&plan, url).await?
        }
        None => on_its_own(&plan, args, &parts).await?,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report { form: FORM, rounds: plan.rounds, seconds: args.seconds, processors, figures };
    print!("{report}");
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(old) = old {
        print!("\nSince the earlier run:\n{}", compare(&old, &report));
    }
    Ok(ExitCode::SUCCESS)
}

/// How long a stack may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(8);

/// Refuses to measure what doesn't answer.
async fn answers(url: &str) -> Result<()> {
    // Any answer will do, and what can't be reached at all is told by the first client.
    let client = towpath_client::Client::new(url)?;
    match saying(url, timeout(PATIENCE, client.stock("NOBODY"))).await {
        Ok(_) => Ok(()),
        Err(_) => bail!("{url} doesn't answer: nothing was heard for {} s", PATIENCE.as_secs()),
    }
}

impl Args {
    fn plan(&self) -> Plan {
        let mut clients = Vec::new();
        for &number in &self.clients {
            let number = usize::from(number);
            if !clients.contains(&number) {
                clients.push(number);
            }
        }
        Plan { rounds: usize::from(self.rounds), time: Duration::from_secs(self.seconds), clients }
    }

    /// What to measure: each once, in the order in which it was asked for.
    fn parts(&self) -> Result<Vec<Part>> {
        let default = if self.url.is_some() { &[Part::Orders][..] } else { &DEFAULT };
        let asked = if self.only.is_empty() { default } else { &self.only };
        let mut parts = Vec::new();
        for part in asked {
            if !parts.contains(part) {
                parts.push(*part);
            }
        }
        if self.url.is_some() && parts != [Part::Orders] {
            bail!("with --url only orders can be measured: the rest needs a stack of its own");
        }
        if parts.contains(&Part::Growth) && parts.len() > 1 {
            bail!("growth is measured alone: its stack has limits of its own");
        }
        Ok(parts)
    }
}

/// On a stack that is removed afterwards, also after Ctrl-C.
async fn on_its_own(plan: &Plan, args: &Args, parts: &[Part]) -> Result<Vec<Figure>> {
    let own = OwnStack::new(args.runtime.clone());
    let limits = if parts.contains(&Part::Growth) { growth::RELAY_LIMITS } else { &[] };
    let mut signals = Signals::new()?;
    let work = async {
        say("starting a stack of its own");
        let stack = own.start(limits).await?;
        let meter = Meter::open(&stack, own.home()).await?;
        let mut figures = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            say(&format!("{} of {}: {}", number + 1, parts.len(), part.described()));
            figures.extend(match part {
                Part::Idle => idle::run(plan.time * args.rounds.into(), &meter).await?,
                Part::Hops => hops::run(plan, &stack.url, &meter).await?,
                Part::Reads => reads::run(plan, &stack.url, &meter).await?,
                Part::Units => units::run(plan, &stack, &meter).await?,
                Part::Events => events::run(plan.rounds, &stack, &meter).await?,
                Part::Orders => orders::run(plan, &stack, &meter).await?,
                Part::Overload => overload::run(plan.rounds, &stack).await?,
                Part::Growth => growth::run(&stack, Work { units: args.units, per_second: args.rate }).await?,
            });
        }
        figures.extend(memory_of(&stack)?);
        Ok(figures)
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = signals.next() => Err(anyhow!("stopped")),
    };
    say("taking the stack down");
    let removed = own.remove().await;
    outcome.and_then(|figures| removed.map(|()| figures))
}

impl Part {
    /// What its help says.
    fn described(self) -> String {
        use clap::ValueEnum;
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }
}

fn memory_of(stack: &Running) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for part in stack.parts.iter().filter(|part| ["relay", "host"].contains(&part.name.as_str())) {
        let pid = part.pid.with_context(|| format!("{} doesn't run", part.name))?;
        let (now, most) = memory::resident_mib_of_all(pid)?;
        let figure = Figure::once(format!("memory of the {}, after everything", part.name), "MiB", now);
        figures.push(figure.noting(format!("at most {most:.1} MiB so far")));
    }
    Ok(figures)
}

/// Progress goes to standard error: standard output holds the figures alone.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parts(arguments: &[&str]) -> Result<Vec<Part>> {
        Cli::parse_from(["bench"].iter().chain(arguments)).args.parts()
    }

    #[test]
    fn what_is_asked_for_is_measured_once() {
        assert_eq!(parts(&[]).expect("parts"), DEFAULT);
        assert_eq!(parts(&["--only", "units,orders,units"]).expect("parts"), [Part::Units, Part::Orders]);
        assert_eq!(parts(&["--url", "http://x"]).expect("parts"), [Part::Orders]);
        assert!(parts(&["--url", "http://x", "--only", "units"]).is_err());
        assert!(parts(&["--only", "growth,orders"]).is_err());
    }

    #[test]
    fn a_number_of_clients_is_measured_once() {
        let plan = |list| Cli::parse_from(["bench", "--clients", list]).args.plan().clients;
        assert_eq!(plan("8,64,8"), [8, 64]);
        assert!(Cli::try_parse_from(["bench", "--clients", "0"]).is_err());
    }
}
