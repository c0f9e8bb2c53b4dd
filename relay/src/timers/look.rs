//! The watchdog's look at a timer: is it due, and does nobody call it?
//!
//! The database says so, and not the task that should call it. A relay that doesn't reach its component takes no turn, and says
//! that itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::lease::Schedule;
use crate::watchdog::{Look, Seen, Since};

pub(super) struct Eye {
    schedule: Schedule,
    /// Whether this relay takes turns at all.
    is_ready: Arc<AtomicBool>,
    stop: CancellationToken,
    /// By a clock of its own: the database's may have been set forward.
    overdue: Since,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        let is_overdue = match self.schedule.is_overdue().await {
            Ok(is_overdue) if self.is_ready.load(Ordering::Relaxed) && !self.stop.is_cancelled() => is_overdue,
            // The database is away, and the timer says so; or it is for others to call.
            _ => {
                self.overdue.note(false);
                return Seen::Waits;
            }
        };
        let Some(since) = self.overdue.note(is_overdue) else { return Seen::Moves };
        Seen::Stands {
            since,
            cause: format!("it has been due for {} s, and no relay calls it", since.elapsed().as_secs()),
        }
    }
}

impl Eye {
    pub(super) fn new(schedule: Schedule, is_ready: Arc<AtomicBool>, stop: CancellationToken) -> Self {
        Self { schedule, is_ready, stop, overdue: Since::default() }
    }
}
