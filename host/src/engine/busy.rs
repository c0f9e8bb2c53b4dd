//! How long a component computes without waiting for anything. The epoch interrupts it at every tick so that others get
//! their turn; one that goes on like that for too long is ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::UpdateDeadline;

use super::EPOCH_TICK;

/// Counts the ticks of one stretch of computing. Only the thread that has the instance's store at the time touches it.
#[derive(Debug, Default)]
pub(super) struct Busy {
    ticks: AtomicU64,
    /// The instance gave up its thread because of a tick, and not because it waits.
    interrupted: AtomicBool,
}

impl Busy {
    /// The epoch has ticked while the component computed.
    pub(super) fn tick(&self, limit: Duration) -> wasmtime::Result<UpdateDeadline> {
        let ticks = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        if EPOCH_TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)) > limit {
            return Err(TooBusy(limit).into());
        }
        self.interrupted.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    }

    /// The instance has given up its thread. Unless a tick was the reason it waits, and the stretch is over.
    pub(super) fn gave_up_thread(&self) {
        if !self.interrupted.swap(false, Ordering::Relaxed) {
            self.ticks.store(0, Ordering::Relaxed);
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.ticks.store(0, Ordering::Relaxed);
    }
}

/// Why an instance was ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it computed for {0:?} without waiting for anything (--busy-timeout)")]
pub(super) struct TooBusy(Duration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_stretch_without_waiting_counts() {
        let limit = EPOCH_TICK * 3;
        let busy = Busy::default();
        for _ in 0..3 {
            assert!(matches!(busy.tick(limit), Ok(UpdateDeadline::Yield(1))));
            busy.gave_up_thread();
        }
        assert!(busy.tick(limit).is_err(), "interrupted all the time");

        let busy = Busy::default();
        for _ in 0..10 {
            assert!(busy.tick(limit).is_ok());
            busy.gave_up_thread();
            busy.gave_up_thread();
        }
        for _ in 0..10 {
            assert!(busy.tick(limit).is_ok());
            busy.begin();
        }
    }
}
