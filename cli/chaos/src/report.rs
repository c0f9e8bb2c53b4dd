//! What a run came to, for people and for programs.

mod seen;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::evidence::DUPLICATES;
use super::group::Group;
use super::judge::{Case, Promise, Window};
use super::record::{Call, Resource, Witness};
use seen::Sight;

/// For so long at least a fault is looked at.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// Orders per second.
    pub(crate) rate: f64,
    /// Replicas of the edge.
    pub(crate) replicas: usize,
    /// The line that makes the same run again.
    pub(crate) again: String,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    settings: Settings,
    kept: bool,
    /// How long clients came.
    seconds: f64,
    faults: Vec<Struck>,
    totals: Totals,
    promises: Vec<Promise>,
}

/// A fault, and what clients saw meanwhile.
#[derive(Clone, Debug, Serialize)]
struct Struck {
    fault: String,
    group: Group,
    about: String,
    /// From the beginning of the run. What clients saw is looked at for five seconds at least.
    from_s: f64,
    to_s: f64,
    note: String,
    #[serde(flatten)]
    sight: Sight,
}

/// The run in numbers.
#[derive(Clone, Debug, Default, Serialize)]
struct Totals {
    /// By their status at the end.
    orders: BTreeMap<String, usize>,
    /// All calls, by the status of their answer.
    answers: BTreeMap<String, usize>,
    /// Answers that were the first one once more.
    replayed: usize,
    /// Calls beyond the first for the same thing.
    retries: usize,
    /// Calls that had no answer when the run ended.
    given_up: usize,
    /// Clients that were not let in as too many were there.
    unsent: usize,
    /// Events that services handled.
    handled: u64,
    /// Deliveries of events whose unit of work had committed already; at least so many, since a killed relay loses its counters.
    #[serde(rename = "redelivered")]
    duplicates: u64,
    /// What the relays counted.
    relays: BTreeMap<&'static str, u64>,
    /// The longest that this program itself was not given a processor.
    processor_away_s: f64,
    /// The longest that the machine's disk took for a small write; 0 where none took 100 ms.
    disk_away_s: f64,
}

impl Report {
    /// Of what was judged.
    pub(crate) fn of(settings: Settings, lasted: Duration, case: &Case<'_>, promises: Vec<Promise>) -> Self {
        let sight = |at: usize, window: &Window| {
            // What is over at once is still seen for a while, though not beyond the next fault.
            let next = case.windows.get(at + 1).map_or(lasted, |next| next.from);
            let to = window.to.max((window.from + AFTERMATH).min(next));
            Sight::of(case.witness, window.from, to)
        };
        let faults = case.windows.iter().enumerate().map(|(at, window)| Struck {
            fault: window.fault.clone(),
            group: window.group,
            about: window.about.clone(),
            from_s: window.from.as_secs_f64(),
            to_s: window.to.as_secs_f64(),
            note: window.note.clone(),
            sight: sight(at, window),
        });
        Self {
            settings,
            kept: promises.iter().all(|promise| promise.broken.is_empty()),
            seconds: lasted.as_secs_f64(),
            faults: faults.collect(),
            totals: Totals::of(case),
            promises,
        }
    }

    /// Whether every promise was kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Totals {
    fn of(case: &Case<'_>) -> Self {
        let Witness { seen, unsent, given_up, .. } = case.witness;
        let mut totals = Self { unsent: *unsent, given_up: *given_up, ..Self::default() };
        for order in &case.evidence.placed {
            *totals.orders.entry(order.status.clone()).or_default() += 1;
        }
        for one in seen {
            *totals.answers.entry(one.status()).or_default() += 1;
            totals.replayed += usize::from(one.call == Call::Place && one.reply().is_some_and(|reply| reply.replayed));
            totals.retries += usize::from(one.attempt > 1);
        }
        totals.relays = case.watched.counters.0.clone();
        totals.handled = case.evidence.handled.try_into().unwrap_or_default();
        totals.duplicates = totals.relays.remove(DUPLICATES).unwrap_or_default();
        totals.processor_away_s = case.witness.longest(Resource::Processor).as_secs_f64();
        totals.disk_away_s = case.witness.longest(Resource::Disk).as_secs_f64();
        totals
    }
}

#[cfg(test)]
mod tests;
