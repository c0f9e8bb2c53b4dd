//! `towpath-relay dlq`: the command line for dead letters. [`crate::events::dead_letters`] does the work.
//!
//! Prints data to stdout and messages to stderr. Replays or drops nothing unless ids, a filter or `--all` select the
//! letters. Exits with status 1 if an id that was asked for isn't open, or a letter can't be replayed.

mod print;
mod time;

use std::collections::BTreeSet;

use super::print::{count, done as told, missing, out};
use super::wait::saying;
use crate::config::Config;
use crate::events::dead_letters::{self, Filter, Letter, Reason, Settled};
use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;

/// The subcommands.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dlq list                                      every open letter
  dlq list --service beta --since 2h            one service, the last two hours
  dlq show alpha.events.beta.dlq/7              one letter with headers and data
  dlq replay alpha.events.beta.dlq/7            deliver it to that service again
  dlq replay --service beta                     all letters of a service, in order per key
  dlq drop --key 0198f3 --reason refused --yes  drop for good

A letter that is too large for its topic refers to its record: it has the data nowhere else. A replay reads that record, and
says so if Kafka has deleted it; such a letter can only be dropped.")]
pub(crate) enum Command {
    /// List open letters
    List(Reading),
    /// Show letters with reason, headers and data
    Show(Reading),
    /// Deliver letters to their services again, in order per key
    Replay(Settling),
    /// Drop letters for good
    Drop {
        #[command(flatten)]
        settling: Settling,
        /// Drop them; without this, only list what would be dropped
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters to show, and how.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object per letter
    #[arg(long)]
    json: bool,
}

/// Which letters to replay or drop.
#[derive(Debug, Args)]
pub(crate) struct Settling {
    #[command(flatten)]
    which: Which,
    /// All letters of all services
    #[arg(long, conflicts_with_all = ["ids", "service", "topic", "key", "reason", "since", "until"])]
    all: bool,
    /// Print one JSON object per service
    #[arg(long)]
    json: bool,
}

/// Selects letters: all conditions must hold.
#[derive(Debug, Args)]
struct Which {
    /// Letters with these ids, as `list` prints them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Letters of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Letters whose event came from this topic
    #[arg(long)]
    topic: Option<String>,
    /// Letters whose event has this key
    #[arg(long)]
    key: Option<String>,
    /// Letters with this reason. refused: the component answered with a 4xx that concerns the event, such as 422; failed: 500 or another 5xx on every delivery; malformed: not a CloudEvent
    #[arg(long, hide_possible_values = true, value_parser = reason())]
    reason: Option<Reason>,
    /// Letters written at this time or later: `2h` ago, or 2026-08-23T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Letters written before this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Timestamp>,
}

fn reason() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(|name| Reason::of(&name).ok_or_else(|| format!("no reason is called {name}")))
}

impl Which {
    /// The filter. Refuses a service or topic that can't have letters, since a misspelt one would silently match none.
    fn filter(&self, config: &Config) -> anyhow::Result<Filter> {
        let heard = |name: &&String| !config.services[*name].subscriptions.is_empty();
        let services: Vec<&String> = config.services.keys().filter(heard).collect();
        known("service", self.service.as_ref(), &services)?;
        let wanted = |name: &&&String| self.service.as_ref().is_none_or(|wanted| wanted == **name);
        let subscriptions = services.iter().filter(wanted).flat_map(|name| &config.services[*name].subscriptions);
        let topics: BTreeSet<&String> = subscriptions.map(|subscription| &subscription.topic).collect();
        known("topic", self.topic.as_ref(), &topics.into_iter().collect::<Vec<_>>())?;
        let Self { service, topic, key, reason, since, until, ids } = self;
        Ok(Filter {
            service: service.clone(),
            topic: topic.clone(),
            key: key.clone(),
            reason: *reason,
            since: *since,
            until: *until,
            ids: ids.iter().cloned().collect(),
        })
    }

    fn is_empty(&self) -> bool {
        let Self { ids, service, topic, key, reason, since, until } = self;
        let words = [service, topic, key].into_iter().all(Option::is_none);
        ids.is_empty() && words && reason.is_none() && since.is_none() && until.is_none()
    }
}

fn known(what: &str, wanted: Option<&String>, all: &[&String]) -> anyhow::Result<()> {
    let Some(wanted) = wanted.filter(|wanted| !all.contains(wanted)) else { return Ok(()) };
    let all: Vec<&str> = all.iter().map(|name| name.as_str()).collect();
    anyhow::bail!("no {what} {wanted:?} has subscriptions: there are {}", all.join(", "))
}

/// Runs a subcommand. Answers whether every id that was asked for was found, and every letter settled.
///
/// # Errors
/// If Kafka doesn't answer, or nothing selects the letters.
pub(crate) async fn run(config: &Config, command: &Command) -> anyhow::Result<bool> {
    let brokers = config.kafka.as_ref().map(|kafka| kafka.brokers.as_str()).unwrap_or_default();
    saying(format_args!("Kafka at {brokers}"), obey(config, command)).await
}

async fn obey(config: &Config, command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::List(Reading { which, json }) => {
            let letters = dead_letters::list(config, &which.filter(config)?).await?;
            shown(which, &letters, &print::list(&letters, *json)?)
        }
        Command::Show(Reading { which, json }) => {
            let letters = dead_letters::show(config, &which.filter(config)?).await?;
            shown(which, &letters, &print::whole(&letters, *json)?)
        }
        Command::Replay(settling) => settle(config, settling, "replayed").await,
        Command::Drop { settling, yes: true } => settle(config, settling, "dropped").await,
        Command::Drop { settling, yes: false } => preview(config, settling).await,
    }
}

fn shown(which: &Which, letters: &[Letter], text: &str) -> anyhow::Result<bool> {
    nothing(which, letters);
    out(text)?;
    Ok(found(which, letters))
}

async fn settle(config: &Config, Settling { which, all, json }: &Settling, done: &str) -> anyhow::Result<bool> {
    said_which(which, *all)?;
    let filter = which.filter(config)?;
    let settled = match done {
        "replayed" => dead_letters::replay(config, &filter).await,
        _ => dead_letters::drop(config, &filter).await.map(|done| Settled { done, ..Settled::default() }),
    };
    let Settled { done: settled, deleted } =
        settled.context("some letters may be done; `dlq list` shows which are still open")?;
    let all: Vec<Letter> = settled.iter().chain(&deleted).cloned().collect();
    nothing(which, &all);
    let ids: Vec<_> = settled.iter().map(|letter| (letter.service.as_str(), letter.id.as_str())).collect();
    out(&told(&ids, done, "letter", *json)?)?;
    for letter in &deleted {
        let record = letter.refers_to.as_ref().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "{} can't be replayed: it refers to the record {record}, and Kafka has deleted that; `dlq drop` drops it",
            letter.id
        );
    }
    Ok(found(which, &all) && deleted.is_empty())
}

async fn preview(config: &Config, Settling { which, all, json }: &Settling) -> anyhow::Result<bool> {
    said_which(which, *all)?;
    let letters = dead_letters::list(config, &which.filter(config)?).await?;
    out(&print::list(&letters, *json)?)?;
    found(which, &letters);
    anyhow::bail!("nothing was dropped: add --yes to drop {}", count(letters.len(), "letter"))
}

fn said_which(which: &Which, all: bool) -> anyhow::Result<()> {
    anyhow::ensure!(all || !which.is_empty(), "which letters? Name ids, a filter such as --service, or --all");
    Ok(())
}

fn nothing(which: &Which, letters: &[Letter]) {
    match (letters.is_empty(), which.is_empty()) {
        (true, true) => eprintln!("No dead letters."),
        (true, false) => eprintln!("No dead letter matches."),
        _ => {}
    }
}

/// Whether every id was found. Prints those that weren't.
fn found(which: &Which, letters: &[Letter]) -> bool {
    let missing = missing(&which.ids, letters.iter().map(|letter| &letter.id));
    if let Some(ids) = &missing {
        eprintln!("no open letter {ids}; `dlq list` shows the open ones");
    }
    missing.is_none()
}
