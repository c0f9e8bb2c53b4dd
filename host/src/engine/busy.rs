//! The busy timeout: ends an instance that computes for too long without waiting for anything. An epoch tick interrupts
//! a computing component so that other tasks get the thread; this counts the ticks since the component last waited.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::UpdateDeadline;

/// Time between two epoch ticks: the longest that a computing component keeps the tasks on its thread waiting, and the
/// precision of `--busy-timeout`. Spin uses the same value.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Counts the ticks of one stretch of computing. Only the thread that holds the instance's store uses it.
#[derive(Debug, Default)]
pub(super) struct Busy {
    ticks: AtomicU64,
    /// The instance gave up its thread because of a tick, and not because it waits.
    interrupted: AtomicBool,
}

impl Busy {
    /// Counts an epoch tick that interrupted the component.
    pub(super) fn tick(&self, limit: Duration) -> wasmtime::Result<UpdateDeadline> {
        let ticks = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        if EPOCH_TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)) > limit {
            return Err(TooBusy(limit).into());
        }
        self.interrupted.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    }

    /// The instance gave up its thread. Unless a tick caused that, the component waits, and its stretch of computing ends.
    pub(super) fn gave_up_thread(&self) {
        if !self.interrupted.swap(false, Ordering::Relaxed) {
            self.ticks.store(0, Ordering::Relaxed);
        }
    }

    /// A request begins, and with it a new stretch.
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
