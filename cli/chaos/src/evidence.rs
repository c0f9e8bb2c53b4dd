//! What databases and topics hold after a run. Reading is here, judging is in [`judge`](super::judge).

mod tables;
mod topics;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::service::Service;
use super::stage::Stage;
pub(crate) use topics::{Offsets, Record, answers, letters_since, offsets, read_since};
#[cfg(test)]
pub(crate) use watch::Counters;
pub(crate) use watch::{DUPLICATES, Seen, Watch};

/// An order, by the key that it was placed under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) key: String,
    pub(crate) id: Uuid,
    pub(crate) status: String,
}

/// An event in the outbox of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) seq: i64,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) id: String,
    /// Whether it is marked as being in Kafka.
    pub(crate) published: bool,
    /// Whether it was written after the run began: only then it must be among the records of the run.
    pub(crate) of_the_run: bool,
}

/// A connection to a database that isn't at rest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) service: Service,
    pub(crate) pid: i32,
    pub(crate) user: String,
    pub(crate) state: String,
    /// Whether it waits for a lock.
    pub(crate) waits: bool,
    /// For how long it has been so.
    pub(crate) for_s: f64,
    pub(crate) query: String,
}

/// The right to publish a shard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lease {
    pub(crate) service: Service,
    pub(crate) shard: i16,
    pub(crate) holder: Option<String>,
    /// For how long it is still good.
    pub(crate) good_for_s: f64,
}

/// A timer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timer {
    pub(crate) service: Service,
    pub(crate) name: String,
    /// For how long it has been due; below zero where it is due later.
    pub(crate) overdue_s: f64,
}

/// A fence number, as it was seen at a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fence {
    pub(crate) service: Service,
    /// The shard or the timer.
    pub(crate) of: String,
    pub(crate) number: i64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Letter {
    /// The dead letter topic.
    pub(crate) topic: String,
    pub(crate) offset: i64,
    pub(crate) event: String,
    pub(crate) kind: String,
    pub(crate) key: String,
    pub(crate) reason: String,
}

/// Where everything stood when the run began.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    /// The ends of the topics: what comes behind them is of the run.
    pub(crate) events: Offsets,
    pub(crate) letters: Offsets,
    /// The last number in each outbox.
    outbox: BTreeMap<Service, i64>,
    /// How many events each service had handled.
    handled: BTreeMap<Service, i64>,
}

/// Everything that was found after a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) placed: Vec<Placed>,
    pub(crate) said: BTreeMap<Service, Vec<Said>>,
    pub(crate) records: Vec<Record>,
    pub(crate) letters: Vec<Letter>,
    /// Those that stand there after the replay.
    pub(crate) letters_left: Vec<Letter>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) timers: Vec<Timer>,
    /// Events that the services handled for the first time.
    pub(crate) handled: i64,
}

impl Baseline {
    /// Looks where everything stands. The topics first: an event that is written after its outbox was looked at is then
    /// behind the topic's end, whenever it gets there.
    pub(crate) async fn take(stage: &Stage) -> Result<Self> {
        let kafka = stage.running()?.kafka;
        let topics = stage.services.topics().to_vec();
        let events = offsets(&kafka, move |topic| topics.iter().any(|known| known == topic)).await?;
        let letters = offsets(&kafka, |topic| topic.ends_with(".dlq")).await?;
        let (mut outbox, mut handled) = (BTreeMap::new(), BTreeMap::new());
        for service in Service::ALL {
            let database = stage.database(service).await?;
            outbox.insert(service, tables::last_seq(&database).await?);
            handled.insert(service, tables::handled(&database).await?);
        }
        Ok(Self { events, letters, outbox, handled })
    }
}

impl Evidence {
    /// Gathers what stands there now, of the run whose names begin with `run`. Dead letters come extra: they are read
    /// before they are replayed and after.
    pub(crate) async fn gather(stage: &Stage, run: &str, baseline: &Baseline) -> Result<Self> {
        let mut evidence = Self::default();
        let kafka = stage.running()?.kafka;
        evidence.records = read_since(&kafka, &baseline.events, stage.services.topics().to_vec()).await?;
        for service in Service::ALL {
            let database = stage.database(service).await?;
            let from = baseline.outbox.get(&service).copied().unwrap_or_default();
            evidence.said.insert(service, tables::said(&database, from, &evidence.records).await?);
            evidence.sessions.extend(tables::sessions(&database, service).await?);
            evidence.leases.extend(tables::leases(&database, service).await?);
            evidence.timers.extend(tables::timers(&database, service).await?);
            let before = baseline.handled.get(&service).copied().unwrap_or_default();
            evidence.handled += tables::handled(&database).await? - before;
        }
        evidence.placed = tables::placed(&stage.database(Service::Order).await?, run).await?;
        Ok(evidence)
    }
}

/// How many products of the run the order service has a price of.
pub(crate) async fn priced(stage: &Stage, run: &str) -> Result<i64> {
    tables::priced(&stage.database(Service::Order).await?, run).await
}

/// How many events wait in the outboxes.
pub(crate) async fn unpublished(stage: &Stage) -> Result<i64> {
    let mut waiting = 0;
    for service in Service::ALL {
        waiting += tables::unpublished(&stage.database(service).await?).await?;
    }
    Ok(waiting)
}

/// The ids of all events that the run's records name, without repetition.
fn ids(records: &[Record], topic: &str) -> Vec<String> {
    let ids: BTreeSet<&str> = records.iter().filter(|one| one.topic == topic).map(|one| one.id.as_str()).collect();
    ids.into_iter().map(str::to_owned).collect()
}
