//! The command line of a run.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use towpath_stack::home::Home;
use towpath_stack::terminal::{print, say, told};

use super::faults;
use super::lines::Lines;
use super::report::Settings;
use super::run::Run;
use super::schedule;
use super::stage::Stage;
use super::strangers::{self, Form};

/// Breaks the running stack on purpose while clients place orders, and counts afterwards what was lost or duplicated.
///
/// It uses products of its own and repairs everything that it broke, but parts of the stack are down for moments while it
/// runs: never run it where customers are served. The seed decides which fault strikes when; the same seed repeats a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  towpath chaos                              five minutes, every group of faults
  towpath chaos --list                       list the faults
  towpath chaos --minutes 1 --faults kill    SIGKILL of one part after the other
  towpath chaos --faults kill-kafka,cut-*    these alone
  towpath chaos --each-once --seed 7         a fault of every kind once, in the order of the seed
  towpath chaos --strangers                  strangers attack the public edge, and nothing breaks
  towpath up --replicas 2 -d && towpath chaos --json drill.json

Exit status: 0 where every promise was kept, 1 where one was broken (or others weren't served while strangers attacked), 2 where the run could not be carried out.")]
pub struct Args {
    /// How long clients place orders
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0, value_parser = minutes)]
    minutes: f64,
    /// Decides which fault strikes when, and what clients do [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The faults: names, groups, and beginnings of names such as kill-* [default: all that this stack supports]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    faults: Vec<String>,
    /// How many orders are placed in a second
    #[arg(long, value_name = "ORDERS_PER_S", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// Also write the report to this file, for a program
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One fault of every group, in the seed's order, however long it takes
    #[arg(long, conflicts_with = "minutes")]
    each_once: bool,
    /// No fault: only clients, and the checks afterwards
    #[arg(long, conflicts_with_all = ["faults", "each_once"])]
    no_faults: bool,
    /// No fault: strangers attack the public edge, one way after the other, and others must be served within a second
    /// meanwhile (within four times their slowest answer without an attack, where that is more). 3 s for each attack, or half a minute with --strangers=long, which also waits for the memory after each
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "short")]
    #[arg(conflicts_with_all = ["minutes", "seed", "faults", "rate", "each_once", "no_faults", "list"])]
    strangers: Option<Form>,
    /// List the faults, and do nothing
    #[arg(long, conflicts_with_all = ["seed", "json", "each_once", "no_faults"])]
    list: bool,
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("a number from {least} to {most} is wanted"))
}

fn minutes(text: &str) -> Result<f64, String> {
    within(text, 0.05, 24.0 * 60.0)
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.1, 1_000.0)
}

/// Runs it. The exit status tells a run that failed from a broken promise.
pub async fn command(args: &Args, home: &Home) -> ExitCode {
    let outcome = match args.strangers {
        Some(form) => attack(args, home, form).await,
        None if args.list => list(home),
        None => run(args, home).await,
    };
    outcome.unwrap_or_else(|error| {
        say(&format!("towpath: {}", told(&error)));
        ExitCode::from(2)
    })
}

fn list(home: &Home) -> Result<ExitCode> {
    let stage = Stage::of(home)?;
    for fault in faults::all(&stage) {
        let not_here = fault.impossible(&stage).map(|why| format!(" ({why})")).unwrap_or_default();
        print(&format!("{:<12} {:<28} {}{not_here}", fault.group().name(), fault.name(), fault.about()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn attack(args: &Args, home: &Home, form: Form) -> Result<ExitCode> {
    let stage = Stage::of(home)?;
    stage.is_whole()?;
    let report = strangers::run(&stage, form).await?;
    print(report.to_string().trim_end())?;
    write_json(args, &report)?;
    Ok(if report.is_held() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn write_json(args: &Args, report: &impl Serialize) -> Result<()> {
    let Some(file) = &args.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

async fn run(args: &Args, home: &Home) -> Result<ExitCode> {
    let mut stage = Stage::of(home)?;
    stage.is_whole()?;
    let selected = match args.no_faults {
        true => Vec::new(),
        false => faults::select(&args.faults, faults::all(&stage), &stage)?,
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    let minutes = Duration::from_secs_f64(args.minutes * 60.0);
    let plan = schedule::draw(seed, minutes, &selected, args.each_once);
    let ends = plan.last().map_or(Duration::ZERO, |last| last.at + selected[last.fault].duration());
    let span = if args.each_once { ends + Duration::from_secs(3) } else { minutes };
    let again = again(std::env::args().skip(1), seed, args.seed.is_none());
    say(&format!("seed {seed}: {} faults; the same again: {again}", plan.len()));
    let settings = Settings { seed, rate: args.rate, replicas: stage.urls.len(), again };
    if plan.iter().any(|planned| selected[planned.fault].group().needs_lines()) {
        say("putting proxies between the parts, which are started again for it");
        stage.lines = Some(Lines::open(&stage.home, &stage.services, stage.urls.len()).await?);
    }
    let stage = Arc::new(stage);
    let report = Run { settings, stage: Arc::clone(&stage), faults: selected, plan, span }.carry_out().await;
    if let Some(lines) = &stage.lines {
        say("taking the proxies out again");
        lines.close().await?;
    }
    let report = report?;
    print(report.to_string().trim_end())?;
    write_json(args, &report)?;
    Ok(if report.is_kept() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The line that makes the same run again.
fn again(arguments: impl Iterator<Item = String>, seed: u64, unsaid: bool) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,=:".contains(c));
    let quoted = |word: String| if plain(&word) { word } else { format!("'{}'", word.replace('\'', r"'\''")) };
    let mut words: Vec<String> = std::iter::once("towpath".into()).chain(arguments.map(quoted)).collect();
    if unsaid {
        words.extend(["--seed".into(), seed.to_string()]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_the_same_again_has_the_seed_and_can_be_pasted() {
        let line = |words: &[&str], unsaid| again(words.iter().map(|word| (*word).to_owned()), 7, unsaid);
        assert_eq!(line(&["chaos", "--seed", "7"], false), "towpath chaos --seed 7");
        assert_eq!(line(&["chaos", "--faults", "kill-*"], true), "towpath chaos --faults 'kill-*' --seed 7");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(rate("0").is_err() && rate("-3").is_err() && rate("many").is_err() && rate("NaN").is_err());
        assert_eq!((rate("2.5"), minutes("0.5")), (Ok(2.5), Ok(0.5)));
        assert!(minutes("0").unwrap_err().contains("0.05 to 1440"));
    }
}
