//! The faults of a run, one after the other, each with the time that it took.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use towpath_stack::terminal::say;

use super::fault::Fault;
use super::judge::Window;
use super::record::Record;
use super::schedule::Planned;
use super::stage::Stage;

/// What strikes, and where.
pub(super) struct Strikes<'a> {
    pub(super) stage: &'a Stage,
    pub(super) record: &'a Arc<Record>,
    pub(super) faults: &'a [Box<dyn Fault>],
    /// Ends it before the next fault. One that has begun is taken away first.
    pub(super) stop: &'a CancellationToken,
}

impl Strikes<'_> {
    /// Does all of them that are planned.
    ///
    /// # Errors
    /// Where a fault could not be done, or not be taken away.
    pub(super) async fn run(&self, plan: &[Planned]) -> Result<Vec<Window>> {
        let mut windows = Vec::new();
        for planned in plan {
            let pause = planned.at.saturating_sub(self.record.now());
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
            windows.push(self.strike(planned).await?);
        }
        Ok(windows)
    }

    async fn strike(&self, planned: &Planned) -> Result<Window> {
        let fault = &self.faults[planned.fault];
        let from = self.record.now();
        say(&format!("[{}] {}: {}", clock(from), fault.name(), fault.about()));
        let blast = fault.blast(self.stage);
        let mut random = StdRng::seed_from_u64(planned.seed);
        let struck = fault.strike(self.stage, &mut random).await;
        let struck = struck.with_context(|| format!("{} could not be done or taken away", fault.name()))?;
        let to = self.record.now();
        say(&format!("[{}] {}", clock(to), struck.note));
        Ok(Window {
            fault: fault.name(),
            group: fault.group(),
            about: fault.about(),
            from,
            to,
            blast,
            note: struck.note,
            broken: struck.broken,
            letters: struck.dead_letters,
        })
    }
}

/// Minutes and seconds since the run began.
pub(super) fn clock(at: Duration) -> String {
    format!("{:02}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}
