//! `towpath-relay dlq`: what a person does with dead letters. What letters are, and what becomes of them, is decided in
//! [`towpath_relay::events::dead_letters`]; here are the words.
//!
//! Data goes to stdout, words for a person to stderr. Nothing is replayed or dropped unless ids, a filter or `--all` say
//! which letters are meant, and what was asked for by id and isn't there makes the exit status 1.

mod print;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use towpath_relay::config::Config;
use towpath_relay::events::dead_letters::{self, Filter, Letter, Reason};

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dlq list                                      every event that a person has to decide on
  dlq list --service beta --since 2h            of one service, of the last two hours
  dlq show alpha.events.beta.dlq/7              all of one
  dlq replay alpha.events.beta.dlq/7            deliver it to that service again
  dlq replay --service beta                     all of a service, in order per key
  dlq drop --key 0198f3 --reason refused --yes  give up for good")]
pub(crate) enum Command {
    /// List open letters
    List(Reading),
    /// Show whole letters: why, headers and data
    Show(Reading),
    /// Deliver letters to their services again, in order per key
    Replay(Settling),
    /// Give letters up for good
    Drop {
        #[command(flatten)]
        settling: Settling,
        /// Do it: without this, what would be dropped is listed
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters, and how they are shown.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object per letter
    #[arg(long)]
    json: bool,
}

/// Which letters, where something happens to them.
#[derive(Debug, Args)]
pub(crate) struct Settling {
    #[command(flatten)]
    which: Which,
    /// Every letter of every service
    #[arg(long, conflicts_with_all = ["ids", "service", "topic", "key", "reason", "since", "until"])]
    all: bool,
    /// Print one JSON object per service
    #[arg(long)]
    json: bool,
}

/// All that is said must hold.
#[derive(Debug, Args)]
struct Which {
    /// Letters by their ids, as `list` prints them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Of events of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Of events with this key
    #[arg(long)]
    key: Option<String>,
    /// refused: the component answered 4xx; failed: 500 each time; malformed: it is no event
    #[arg(long, hide_possible_values = true, value_parser = reason())]
    reason: Option<Reason>,
    /// Given up at this time or later: `2h` ago, or as 2026-08-23T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Given up before this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Timestamp>,
}

fn reason() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(|name| Reason::of(&name).ok_or_else(|| format!("no reason is called {name}")))
}

impl Which {
    /// The filter; a service or topic that can't have letters is refused, for a misspelt one would have none.
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
    anyhow::bail!("no {what} {wanted:?} hears anything: there are {}", all.join(", "))
}

/// Does it. Answers whether all that was asked for by id was found.
///
/// # Errors
/// Where Kafka doesn't answer, or it isn't said which letters are meant.
pub(crate) async fn run(config: &Config, command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::List(reading) => read(config, reading, print::list).await,
        Command::Show(reading) => read(config, reading, print::whole).await,
        Command::Replay(settling) => settle(config, settling, "replayed").await,
        Command::Drop { settling, yes: true } => settle(config, settling, "dropped").await,
        Command::Drop { settling, yes: false } => preview(config, settling).await,
    }
}

async fn read(
    config: &Config,
    Reading { which, json }: &Reading,
    show: fn(&[Letter], bool) -> anyhow::Result<String>,
) -> anyhow::Result<bool> {
    let letters = dead_letters::list(config, &which.filter(config)?).await?;
    nothing(which, &letters);
    print::out(&show(&letters, *json)?)?;
    Ok(found(which, &letters))
}

async fn settle(config: &Config, Settling { which, all, json }: &Settling, done: &str) -> anyhow::Result<bool> {
    said_which(which, *all)?;
    let filter = which.filter(config)?;
    let settled = match done {
        "replayed" => dead_letters::replay(config, &filter).await,
        _ => dead_letters::drop(config, &filter).await,
    };
    let settled = settled.context("some may be done: `dlq list` shows which letters are open")?;
    nothing(which, &settled);
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for letter in &settled {
        services.entry(&letter.service).or_default().push(&letter.id);
    }
    print::out(&print::settled(&services, done, *json)?)?;
    Ok(found(which, &settled))
}

async fn preview(config: &Config, Settling { which, all, json }: &Settling) -> anyhow::Result<bool> {
    said_which(which, *all)?;
    let letters = dead_letters::list(config, &which.filter(config)?).await?;
    print::out(&print::list(&letters, *json)?)?;
    found(which, &letters);
    anyhow::bail!("nothing was dropped: with --yes, {} would be", print::letters(letters.len()))
}

fn said_which(which: &Which, all: bool) -> anyhow::Result<()> {
    anyhow::ensure!(all || !which.is_empty(), "which letters? Name ids or a filter such as --service, or say --all");
    Ok(())
}

fn nothing(which: &Which, letters: &[Letter]) {
    match (letters.is_empty(), which.is_empty()) {
        (true, true) => eprintln!("No dead letters."),
        (true, false) => eprintln!("No dead letter is like that."),
        _ => {}
    }
}

/// Whether every id was found; those that weren't are named.
fn found(which: &Which, letters: &[Letter]) -> bool {
    let there: BTreeSet<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    let missing: Vec<&str> = which.ids.iter().map(String::as_str).filter(|id| !there.contains(id)).collect();
    if !missing.is_empty() {
        eprintln!("no open letter {}: `dlq list` shows those that there are", missing.join(", "));
    }
    missing.is_empty()
}
