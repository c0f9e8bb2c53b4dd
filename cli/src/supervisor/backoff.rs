//! The back-off between the death of a part and its next start.
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A part that was ready for this long counts as healthy: its next death is its first.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// Doubles from one death to the next, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    /// Since the part was last healthy.
    deaths: u32,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST, deaths: 0 }
    }

    /// The pause after a death, given how long the part had been ready before it.
    pub(crate) fn after_death(&mut self, ready_for: Duration) -> Duration {
        if ready_for >= HEALTHY_AFTER {
            *self = Self::new();
        }
        self.deaths += 1;
        let pause = self.next;
        self.next = (pause * 2).min(MAX_PAUSE);
        pause
    }

    /// How often the part has died since it was last healthy: also where it was ready for a moment in between.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_health() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.after_death(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.after_death(Duration::from_secs(29)), MAX_PAUSE);
        assert_eq!(backoff.deaths(), 9, "a moment is no health");
        assert_eq!(backoff.after_death(Duration::from_secs(30)), FIRST);
        assert_eq!(backoff.deaths(), 1);
    }
}
