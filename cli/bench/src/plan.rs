//! How long and how often is measured.

use std::time::Duration;

use anyhow::Result;

use super::cost::{Cost, Meter};
use super::latency::{Latency, Times};
use super::load::{self, Client, Measured};

/// The part of the best rate at which the open loop asks how long a call takes: at a rate that nobody can keep, the
/// waiting grows for as long as it is measured.
const USUAL_LOAD: f64 = 0.7;

/// Rounds, and the time of one.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) time: Duration,
    /// Numbers of clients with which a figure is measured, one after the other.
    pub(super) clients: Vec<usize>,
}

/// The rounds of one side of a figure.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) per_second: Vec<f64>,
    costs: Vec<Cost>,
    times: Times,
}

impl Plan {
    /// A fifth of a round: caches, connections and JIT compilers are warm after it.
    pub(super) fn warm_up(&self) -> Duration {
        (self.time / 5).clamp(Duration::from_millis(500), Duration::from_secs(3))
    }
}

impl Rounds {
    /// One more round, by clients who are warm.
    pub(super) fn add(&mut self, measured: &Measured) {
        self.per_second.push(measured.per_second());
        self.times.join(&measured.times);
    }

    /// One more round of a closed loop, and what each call cost.
    pub(super) async fn run<C: Client>(
        &mut self,
        meter: &Meter<'_>,
        time: Duration,
        clients: Vec<C>,
    ) -> Result<Vec<C>> {
        let before = meter.read().await?;
        let (measured, clients) = load::closed(time, clients).await?;
        self.costs.push(meter.read().await?.each(&before, measured.calls()));
        self.add(&measured);
        Ok(clients)
    }

    pub(super) fn latency(&self) -> Latency {
        self.times.latency()
    }

    pub(super) fn cost(&self) -> Cost {
        Cost::mean(&self.costs)
    }

    /// The percentiles of the same calls at the usual load, from the moment at which each was due.
    pub(super) async fn at_usual_load<C: Client>(&self, plan: &Plan, clients: Vec<C>) -> Result<(f64, Latency)> {
        let mean = self.per_second.iter().sum::<f64>() / self.per_second.len().max(1) as f64;
        let (measured, _) = load::open(mean * USUAL_LOAD, plan.time, clients).await?;
        Ok((mean * USUAL_LOAD, measured.times.latency()))
    }
}
