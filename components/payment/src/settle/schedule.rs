//! When the provider is asked what became of a refund, or of a payment that waits.

/// In seconds.
pub(super) const HOUR: i64 = 3600;
/// In seconds.
pub(super) const DAY: i64 = 24 * HOUR;

/// The pause after a question without an answer, in seconds. Such a question doesn't count.
pub(super) const WITHOUT_ANSWER: i64 = 30;

/// When the provider is asked, in seconds after the time before.
pub(super) struct Schedule {
    steps: &'static [i64],
    /// Whether the last step repeats for ever.
    repeats: bool,
}

/// While it is pending: soon first, then every hour, for as long as it takes.
pub(super) const WHILE_PENDING: Schedule = Schedule { steps: &[5, 10, 30, 60, 300, 900, HOUR], repeats: true };
/// After it succeeded: until a bank can't send it back any more.
pub(super) const WHILE_SUCCEEDED: Schedule =
    Schedule { steps: &[HOUR, DAY, 5 * DAY, 10 * DAY, 15 * DAY], repeats: false };

/// While a payment waits for its customer or a bank: soon first, since a customer who authenticates takes a minute.
pub(super) const WHILE_WAITING: Schedule = Schedule { steps: &[10, 15, 30, 60, 120, 300, HOUR], repeats: true };

impl Schedule {
    /// The pause before the question after so many; `None` if that was the last.
    pub(super) fn seconds(&self, asked: usize) -> Option<i64> {
        let last = if self.repeats { self.steps.last() } else { None };
        self.steps.get(asked).or(last).copied()
    }
}
