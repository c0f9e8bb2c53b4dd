//! Whether a client can take apart what Kafka sends it.
//!
//! Of most records that it can't read a client says so. Of some it says nothing: where what it unpacks ends in the middle of a
//! record, it takes that for an answer that was cut short, and asks again for ever. Its statistics tell: answers arrive, none of them has
//! a whole record, and it stands where it stood.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerContext;

use super::context::{Listener, LogAnd};
use super::statistics::Statistics;

/// How often the client tells its statistics, in milliseconds.
const EVERY_MS: &str = "100";
/// So many answers without a whole record, at the same place, are enough. Kafka never sends less than one whole batch.
const MAX_TRIES: u64 = 3;

/// Listens to a consumer that reads one partition.
#[derive(Default)]
pub(crate) struct TakenApart(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The next offset that the client fetches.
    at: Option<i64>,
    /// Answers without a whole record: how many before it came there, and how many now.
    before: u64,
    now: u64,
    /// How often it told its statistics.
    told: u64,
}

impl TakenApart {
    /// What a client that it listens to needs.
    pub(crate) fn set(config: &mut ClientConfig) {
        config.set("statistics.interval.ms", EVERY_MS);
    }

    /// The next offset that the client fetches, and how often it has told that.
    pub(crate) fn at(&self) -> (Option<i64>, u64) {
        let state = self.state();
        (state.at, state.told)
    }

    /// The offset at which the client stands, since it takes no answer of Kafka apart.
    pub(crate) fn fails_at(&self) -> Option<i64> {
        let state = self.state();
        state.at.filter(|_| state.now - state.before >= MAX_TRIES)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, at: Option<i64>, partial: u64) {
        self.told += 1;
        if at != self.at {
            (self.at, self.before) = (at, partial);
        }
        self.now = partial;
    }
}

impl Listener for TakenApart {
    fn statistics(&self, told: Statistics) {
        let partial = told.partial();
        self.state().see(told.next().into_values().max(), partial);
    }
}

impl ConsumerContext for LogAnd<TakenApart> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_while_answers_come_is_told_from_what_moves() {
        let context = TakenApart::default();
        let see = |at, partial| {
            context.state().see(at, partial);
            context.fails_at()
        };
        assert_eq!(see(None, 0), None);
        assert_eq!(see(Some(5), 7), None, "these were before it came there");
        assert_eq!(see(Some(5), 9), None);
        assert_eq!(see(Some(6), 20), None, "it moves");
        assert_eq!(see(Some(6), 22), None);
        assert_eq!(see(Some(6), 23), Some(6));
        assert_eq!(context.at(), (Some(6), 6));
        assert_eq!(see(Some(7), 23), None);
    }
}
