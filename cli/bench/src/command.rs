//! The command line of the benchmark.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use towpath_stack::running::Running;
use towpath_stack::signals::Signals;

use super::growth::{self, Work};
use super::load::Load;
use super::report::{Report, Row};
use super::target::OwnStack;
use super::units::Units;
use super::{hops, memory, orders, overload, producer, units};

/// Measures a stack, each figure beside the same work without Towpath.
///
/// It starts a stack of its own on free ports and removes it afterwards, so it touches no other data. Stop other programs
/// that keep the machine busy: clients, servers and stack share its processors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  towpath bench                            everything, on a stack of its own
  towpath bench --seconds 30 --clients 32  longer, and with more clients
  towpath bench --json figures.json        keeps the figures for a program
  towpath bench --only units,orders        some of it
  towpath bench --only overload            five times the orders that the stack sustains
  towpath bench --only growth              200,000 units of work, and how large the relay's tables are meanwhile
  towpath bench --url http://127.0.0.1:3000  a stack that runs: orders and hops only, and the orders stay in it")]
pub struct Args {
    /// How long to measure each figure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Clients at once, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure these [default: hops,orders,units]
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
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// GET /healthz, bare and through the host.
    Hops,
    /// Orders, from the request to the confirmation.
    Orders,
    /// Units of work and events, beside pgbench and Kafka's own producer.
    Units,
    /// Orders at five times the rate that the stack sustains.
    Overload,
    /// The sizes of the relay's tables under steady load.
    Growth,
}

/// Runs the benchmark, on a stack of its own or on the one that `--url` names.
pub async fn command(args: &Args) -> Result<ExitCode> {
    let load = Load { clients: usize::from(args.clients), time: Duration::from_secs(args.seconds) };
    let parts = args.parts()?;
    let rows = match &args.url {
        Some(url) => from_outside(load, url, &parts).await?,
        None => on_its_own(load, args, &parts).await?,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report { seconds: args.seconds, clients: load.clients, processors, rows };
    print!("{report}");
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What to measure: each once, in the order in which it was asked for.
    fn parts(&self) -> Result<Vec<Part>> {
        let all = [Part::Hops, Part::Orders, Part::Units];
        let from_outside = [Part::Hops, Part::Orders];
        let default = if self.url.is_some() { &from_outside[..] } else { &all };
        let asked = if self.only.is_empty() { default } else { &self.only };
        let mut parts = Vec::new();
        for part in asked {
            if !parts.contains(part) {
                parts.push(*part);
            }
        }
        if self.url.is_some() && parts.iter().any(|part| !from_outside.contains(part)) {
            bail!("with --url, hops and orders can be measured: the rest needs a stack of its own");
        }
        if parts.contains(&Part::Growth) && parts.len() > 1 {
            bail!("growth is measured alone: its stack has limits of its own");
        }
        Ok(parts)
    }
}

/// On a stack that is removed afterwards, also after Ctrl-C.
async fn on_its_own(load: Load, args: &Args, parts: &[Part]) -> Result<Vec<Row>> {
    let own = OwnStack::new();
    let limits = if parts.contains(&Part::Growth) { growth::RELAY_LIMITS } else { &[] };
    let mut signals = Signals::new()?;
    let work = async {
        say("starting a stack of its own");
        let stack = own.start(limits).await?;
        let mut rows = memory_of(&stack, "at rest")?;
        for part in parts {
            rows.extend(match part {
                Part::Hops | Part::Orders => from_outside(load, &stack.url, &[*part]).await?,
                Part::Units => work_and_events(load, &stack).await?,
                Part::Overload => {
                    say("orders, at the most and at five times that");
                    overload::run(&stack).await?
                }
                Part::Growth => {
                    say("units of work at a steady rate");
                    growth::run(&stack, Work { units: args.units, per_second: args.rate }).await?
                }
            });
        }
        rows.extend(memory_of(&stack, "after everything")?);
        Ok(rows)
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = signals.next() => Err(anyhow!("stopped")),
    };
    say("taking the stack down");
    let removed = own.remove().await;
    outcome.and_then(|rows| removed.map(|()| rows))
}

/// What a client can measure.
async fn from_outside(load: Load, url: &str, parts: &[Part]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if parts.contains(&Part::Hops) {
        say("GET /healthz, bare and through the host");
        rows.push(hops::run(load, url).await?);
    }
    if parts.contains(&Part::Orders) {
        say("orders");
        rows.push(orders::run(load, url).await?);
    }
    Ok(rows)
}

async fn work_and_events(load: Load, stack: &Running) -> Result<Vec<Row>> {
    say("units of work, by pgbench and through the relay");
    let Units { plain, with_event, mut published } = units::run(load, stack).await?;
    if let Some(jars) = stack.kafka_class_path() {
        say("Kafka's own producer benchmark");
        published = published.beside("Kafka's own producer", producer::run(&jars, &stack.kafka).await?);
    }
    Ok(vec![plain, with_event, published])
}

fn memory_of(stack: &Running, when: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for part in stack.parts.iter().filter(|part| ["relay", "host"].contains(&part.name.as_str())) {
        let pid = part.pid.with_context(|| format!("{} doesn't run", part.name))?;
        let (now, most) = memory::resident_mib(pid)?;
        let row = Row::new(format!("memory of the {}, {when}", part.name), "MiB", now);
        rows.push(row.noting(format!("at most {most:.1} MiB so far")));
    }
    Ok(rows)
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
        assert_eq!(parts(&[]).expect("parts"), [Part::Hops, Part::Orders, Part::Units]);
        assert_eq!(parts(&["--only", "units,orders,units"]).expect("parts"), [Part::Units, Part::Orders]);
        assert_eq!(parts(&["--url", "http://x"]).expect("parts"), [Part::Hops, Part::Orders]);
        assert!(parts(&["--url", "http://x", "--only", "units"]).is_err());
        assert!(parts(&["--only", "growth,orders"]).is_err());
    }
}
