//! The back-off between the death of a part and its next start.

use std::time::Duration;

use towpath_stack::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A part that was ready for this long counts as healthy: its next death is its first.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// How often a part has died since it was last healthy.
#[derive(Debug, Default)]
pub(crate) struct Deaths(u32);

impl Deaths {
    /// Counts a death. Answers the pause after it, given how long the part had been ready before it.
    pub(crate) fn pause(&mut self, ready_for: Duration) -> Duration {
        if ready_for >= HEALTHY_AFTER {
            self.0 = 0;
        }
        self.0 = self.0.saturating_add(1);
        Backoff::new(FIRST, MAX_PAUSE).after(self.0)
    }

    /// How many: also where it was ready for a moment in between.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_health() {
        let mut deaths = Deaths::default();
        let pauses: Vec<u128> = (0..8).map(|_| deaths.pause(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(deaths.pause(Duration::from_secs(29)), MAX_PAUSE);
        assert_eq!(deaths.in_a_row(), 9, "a moment is no health");
        assert_eq!(deaths.pause(Duration::from_secs(30)), FIRST);
        assert_eq!(deaths.in_a_row(), 1);
    }
}
