//! A fault: its name, the calls that may fail because of it, and what it does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::group::Group;
use super::service::Service;
use super::stage::Stage;

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
    fn group(&self) -> Group;

    /// What it does, in a line for a person.
    fn about(&self) -> String;

    /// How long it takes from its beginning until everything may be expected to work again.
    fn duration(&self) -> Duration;

    /// Why it can't be done on this stack, if so: "needs `towpath up --replicas 2`".
    fn impossible(&self, _stage: &Stage) -> Option<String> {
        None
    }

    /// What clients may see of it: nothing, where nothing else is said.
    fn blast(&self, _stage: &Stage) -> Blast {
        Blast::none()
    }

    /// Does it, takes it away, and returns when the stack has what it needs again (parts ready, lines mended). An error
    /// means that the fault could not be done or taken away, and ends the run.
    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>>;
}
