//! What a fault is to the rest of a run: a name, the calls that it may spoil, and what it does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::stage::Stage;

/// The services whose databases a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Service {
    Product,
    Inventory,
    Order,
    Payment,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Product, Self::Inventory, Self::Order, Self::Payment];

    /// As parts, databases and topics name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Inventory => "inventory",
            Self::Order => "order",
            Self::Payment => "payment",
        }
    }
}

/// A group of faults that test one promise: a row of docs/promises.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    /// SIGKILL of a part.
    Kill,
    /// SIGSTOP of a part for some seconds.
    Stall,
    /// One of two pairs of host and relay goes and comes back, by force or gracefully.
    Replicas,
    /// A connection is cut at a chosen moment.
    Cut,
    /// Kafka away for long.
    KafkaAway,
    /// The payment provider fails.
    Provider,
    /// Redis forgets everything.
    RedisEmptied,
    /// A component fails on one event.
    Component,
    /// Partitions added, the consumer groups rebalanced.
    Partitions,
    /// PostgreSQL ends all connections, or somebody holds a lock.
    Postgres,
}

impl Row {
    /// As `--faults` and the report name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stall => "stall",
            Self::Replicas => "replicas",
            Self::Cut => "cut",
            Self::KafkaAway => "kafka-away",
            Self::Provider => "provider",
            Self::RedisEmptied => "redis-emptied",
            Self::Component => "component",
            Self::Partitions => "partitions",
            Self::Postgres => "postgres",
        }
    }
}

/// What clients may see while a fault lasts and for a while after it. Everything else is a broken promise.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Blast {
    /// Calls that need one of these may be answered 503 with `Retry-After` (or 429); no others may.
    pub(crate) refused: BTreeSet<Service>,
    /// These replicas of the edge (1 is the first) may answer so whatever the call needs: the relay beside them is gone.
    pub(crate) refused_by: BTreeSet<usize>,
    /// Connections to these replicas of the edge (1 is the first) may be refused or cut, for they are part of the fault.
    pub(crate) unreachable: BTreeSet<usize>,
    /// Calls may take as long as the fault lasts, and be cut: the part that answers them stands still.
    pub(crate) stalled: bool,
}

impl Blast {
    /// Nobody may notice.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Calls that need these services may be refused.
    pub(crate) fn refusing(services: impl IntoIterator<Item = Service>) -> Self {
        Self { refused: services.into_iter().collect(), ..Self::default() }
    }

    /// Whether a call to this replica that needs the databases of these services may be answered 503 (or 429).
    pub(crate) fn may_refuse(&self, replica: usize, needs: &BTreeSet<Service>) -> bool {
        self.refused_by.contains(&replica) || !self.refused.is_disjoint(needs)
    }
}

/// What a fault left for the judge.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    /// What happened, for the report: "killed pid 71, ready again after 2.1 s".
    pub(crate) note: String,
    /// The ids of events that the fault itself has sent to the dead letters. The run replays them before it judges, as
    /// an operator would.
    pub(crate) dead_letters: BTreeSet<String>,
    /// Promises that the fault itself saw broken, in a line each.
    pub(crate) broken: Vec<String>,
}

impl Struck {
    pub(crate) fn noted(note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::default() }
    }
}

/// One way to break something.
pub(crate) trait Fault: Send + Sync {
    /// What `--faults` selects it by, such as `kill-postgres-order`.
    fn name(&self) -> String;

    /// The promise that it tests.
    fn row(&self) -> Row;

    /// What it does, in a line for a person.
    fn about(&self) -> String;

    /// How long it takes from its beginning until everything may be expected to work again.
    fn duration(&self) -> Duration;

    /// Why it can't be done on this stack, if so: "needs `towpath up --replicas 2`".
    fn impossible(&self, _stage: &Stage) -> Option<String> {
        None
    }

    /// What clients may see of it.
    fn blast(&self, stage: &Stage) -> Blast;

    /// Does it, takes it away, and returns when the stack has what it needs again (parts ready, lines mended). An error
    /// means that the fault could not be done or taken away, and ends the run.
    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>>;
}
