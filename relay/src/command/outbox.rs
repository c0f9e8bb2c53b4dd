//! `towpath-relay outbox`: the command line for events that Kafka refuses. [`crate::events::outbox::held`] does the work.
//!
//! Prints data to stdout and messages to stderr. Tries or drops nothing unless it is said which. Exits with status 1 if an id
//! that was asked for isn't held.

mod print;

use std::collections::BTreeSet;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::print::{count, done, missing, out};
use super::wait::saying;
use crate::config::Config;
use crate::events::outbox::held::{self, Filter, HeldEvent, Listed, MAX_LISTED};
use crate::failure::told;

/// The subcommands.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Kafka may refuse an event for as long as things are as they are: it is larger than its topic takes, the relay may not write
there, or there is no such topic. Then the events of that key wait, in order; all others go on. The relay tries the first of
them again by itself, at least once a minute.

Examples:
  outbox list                        the keys that wait, each with its first event and what Kafka says
  outbox list --topic alpha.events   those of one topic
  outbox show alpha/1234             all of one event, with its data
  outbox retry alpha/1234            try it at once, after you have mended the topic
  outbox retry --all                 try all
  outbox drop alpha/1234 --yes       drop this event for good; the key goes on with the next"
)]
pub(crate) enum Command {
    /// List the keys that wait, each with its first event
    List(Reading),
    /// Show the first events of keys that wait, with their data
    Show(Reading),
    /// Try them at once
    Retry(Retrying),
    /// Drop events for good; their keys go on with the next event
    Drop(Dropping),
}

/// Which to show, and how.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
}

/// Which to try.
#[derive(Debug, Args)]
pub(crate) struct Retrying {
    #[command(flatten)]
    which: Which,
    /// All of all services
    #[arg(long, conflicts_with_all = ["ids", "service", "topic", "key"])]
    all: bool,
    /// Print one JSON object per service
    #[arg(long)]
    json: bool,
}

/// Which to drop.
#[derive(Debug, Args)]
pub(crate) struct Dropping {
    /// Events with these ids, as `list` prints them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Drop them; without this, only list what would be dropped
    #[arg(long)]
    yes: bool,
    /// Print one JSON object per service
    #[arg(long)]
    json: bool,
}

/// Selects keys: all conditions must hold.
#[derive(Debug, Args)]
struct Which {
    /// Events with these ids, as `list` prints them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Of the outbox of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Events for this topic
    #[arg(long)]
    topic: Option<String>,
    /// Events with this key
    #[arg(long)]
    key: Option<String>,
}

impl Which {
    /// The filter. Refuses a service or topic that publishes nothing, since a misspelt one would silently match none.
    fn filter(&self, config: &Config) -> anyhow::Result<Filter> {
        let services: BTreeSet<&str> = held::publishing(config).map(|service| service.name.as_str()).collect();
        known("service", self.service.as_deref(), &services)?;
        let wanted = |name: &str| self.service.as_deref().is_none_or(|wanted| wanted == name);
        let topics =
            held::publishing(config).filter(|service| wanted(&service.name)).flat_map(|service| &service.publish);
        known("topic", self.topic.as_deref(), &topics.map(String::as_str).collect())?;
        let Self { service, topic, key, ids } = self;
        let ids = ids.iter().cloned().collect();
        Ok(Filter { service: service.clone(), topic: topic.clone(), key: key.clone(), ids })
    }

    fn is_empty(&self) -> bool {
        let Self { ids, service, topic, key } = self;
        ids.is_empty() && [service, topic, key].into_iter().all(Option::is_none)
    }
}

fn known(what: &str, wanted: Option<&str>, all: &BTreeSet<&str>) -> anyhow::Result<()> {
    let Some(wanted) = wanted.filter(|wanted| !all.contains(wanted)) else { return Ok(()) };
    let all: Vec<&str> = all.iter().copied().collect();
    anyhow::bail!("no {what} {wanted:?} is published: there are {}", all.join(", "))
}

/// Runs a subcommand. Answers whether every id that was asked for was found.
///
/// # Errors
/// If a database doesn't answer, or nothing selects the events.
pub(crate) async fn run(config: &Config, command: &Command) -> anyhow::Result<bool> {
    saying("the databases of the services that publish", obey(config, command)).await
}

async fn obey(config: &Config, command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::List(reading) => read(config, reading, false, print::list).await,
        Command::Show(reading) => read(config, reading, true, print::whole).await,
        Command::Retry(retrying) => retry(config, retrying).await,
        Command::Drop(dropping) if dropping.yes => drop(config, dropping).await,
        Command::Drop(dropping) => preview(config, dropping).await,
    }
}

async fn read(
    config: &Config,
    Reading { which, json }: &Reading,
    with_data: bool,
    show: fn(&[HeldEvent], bool) -> anyhow::Result<String>,
) -> anyhow::Result<bool> {
    let filter = which.filter(config)?;
    let Listed { events, away } = held::list(config, &filter, with_data).await?;
    match (events.is_empty() && away.is_empty(), which.is_empty()) {
        (true, true) => eprintln!("No key is held: Kafka has refused no event that still waits."),
        (true, false) => eprintln!("No held key matches."),
        _ => {}
    }
    out(&show(&events, *json)?)?;
    for service in held::publishing(config).map(|service| &service.name) {
        if events.iter().filter(|event| event.service == *service).count() as i64 == MAX_LISTED {
            eprintln!("{service} may hold more keys: only the first {MAX_LISTED} are listed");
        }
    }
    for error in &away {
        eprintln!("not listed: {}", told(error));
    }
    // An id that isn't found may be in a database that is away.
    Ok(away.is_empty() && found(&filter, &events))
}

async fn retry(config: &Config, Retrying { which, all, json }: &Retrying) -> anyhow::Result<bool> {
    anyhow::ensure!(*all || !which.is_empty(), "which events? Name ids, a filter such as --service, or --all");
    let filter = which.filter(config)?;
    let events =
        held::retry(config, &filter).await.context("some may be done; `outbox list` shows when each is tried")?;
    if events.is_empty() && filter.ids.is_empty() {
        eprintln!("No held key matches.");
    }
    out(&done(&named(&events), "retried", "event", *json)?)?;
    Ok(found(&filter, &events))
}

async fn drop(config: &Config, Dropping { ids, json, .. }: &Dropping) -> anyhow::Result<bool> {
    let filter = Filter { ids: ids.iter().cloned().collect(), ..Filter::default() };
    let dropped =
        held::drop(config, &filter).await.context("some may be dropped; `outbox list` shows which are not")?;
    out(&done(&named(&dropped), "dropped", "event", *json)?)?;
    if !*json {
        out(&print::dropped(&dropped)?)?;
    }
    Ok(found(&filter, &dropped))
}

async fn preview(config: &Config, Dropping { ids, json, .. }: &Dropping) -> anyhow::Result<bool> {
    let filter = Filter { ids: ids.iter().cloned().collect(), ..Filter::default() };
    let Listed { events, away } = held::list(config, &filter, false).await?;
    if let Some(error) = away.into_iter().next() {
        return Err(error);
    }
    out(&print::list(&events, *json)?)?;
    found(&filter, &events);
    anyhow::bail!("nothing was dropped: add --yes to drop {}", count(events.len(), "event"))
}

/// The service and the id of each.
fn named(events: &[HeldEvent]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event.service.as_str(), event.id.as_str())).collect()
}

/// Whether every id was found. Prints those that weren't.
fn found(filter: &Filter, events: &[HeldEvent]) -> bool {
    let missing = missing(&filter.ids, events.iter().map(|event| &event.id));
    if let Some(ids) = &missing {
        eprintln!("no held event {ids}; `outbox list` shows those that are held");
    }
    missing.is_none()
}
