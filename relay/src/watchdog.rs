//! Watchdogs: whether a part of the relay that should move moves, measured from outside of it.
//!
//! Publishers and consumers stand on a client library with threads, connections and a state of its own. Whatever it believes:
//! what counts is what changes in PostgreSQL and Kafka. So a watchdog beside each part looks there every second, or less often where
//! its patience is long ([`until_stuck`](Watchdog::until_stuck)). A part that stands still for longer than its patience, while the servers that
//! it needs answer, is replaced: its owner drops the client and makes another. That is logged with its cause and counted,
//! and `/readyz` shows it until the part moves again: `degraded`, and for a service's part `unready` after [`MAX_REPLACEMENTS`].
//!
//! | part | what should move | who looks |
//! |---|---|---|
//! | `outbox` | the oldest event of each shard leaves; the lease is renewed | `events/outbox/look.rs` |
//! | `consumer` | the loop comes round; there are partitions; offsets move; each lane has a worker | `events/delivery/look.rs` |
//! | `letters` | a dead letter is acknowledged | `events/delivery/letter/look.rs` |
//! | `timer` | a timer that is due is called (retention is one too) | `timers/look.rs` |
//!
//! So are the parts that serve all services ([`parts`]):
//!
//! | part | what should move | who looks |
//! |---|---|---|
//! | `redis` | the connection answers while Redis answers another one | `redis/look.rs` |
//! | `wake-ups in` | what the relay publishes to itself is heard | `redis/look.rs` |
//! | `wake-ups out` | wake-ups that wait are sent while Redis is there | `redis/look.rs` |
//! | `cache` | tags that wait are invalidated while Redis is there | `redis/look.rs` |
//! | `dead letters` | all letters that Kafka has are counted | `events/dead_letters/watch/look.rs` |
//! | `topics`, `metrics` | the loop comes round | [`parts::Grows`] |
//!
//! Looks at dependencies grow old where nobody looks any more, and `/readyz` says so (`board.rs`). A wake-up that is lost is covered by the outbox' sweep, and a sweep that doesn't run shows in the oldest events. A part that
//! panics begins anew too ([`crate::panics`]); that counts as a replacement ([`failed`](Watchdog::failed)).

pub(crate) mod parts;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;

use crate::standstill::Standstills;
use crate::telemetry::metrics as names;

/// After so many replacements that did not help, `/readyz` is 503.
pub(crate) const MAX_REPLACEMENTS: u32 = 3;
/// How often a watchdog looks: so many times within its patience, within these bounds.
const LOOKS: u32 = 10;
const MIN_LOOK_EVERY: Duration = Duration::from_secs(1);
const MAX_LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one look may take. A server that is slower doesn't answer.
const MAX_LOOK: Duration = Duration::from_secs(15);

/// What a look has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The part moves, or has nothing to do.
    Moves,
    /// It waits for something that is known and not its own, such as a server that doesn't answer.
    Waits,
    /// It should move, and has not since this moment.
    Stands {
        /// Since when.
        since: Instant,
        /// What was seen.
        cause: String,
    },
}

/// Since when something is so, as looks saw it.
#[derive(Debug, Default)]
pub(crate) struct Since(Option<Instant>);

impl Since {
    /// Notes whether it is so now. Answers since when, where it is.
    pub(crate) fn note(&mut self, is_so: bool) -> Option<Instant> {
        self.0 = is_so.then(|| self.0.unwrap_or_else(Instant::now));
        self.0
    }
}

/// Looks at a part from outside.
pub(crate) trait Look: Send {
    /// Looks once.
    fn look(&mut self) -> impl Future<Output = Seen> + Send;
}

/// The watchdog of one part. It outlives the clients that it has replaced.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Whose part it is; empty where it serves all.
    service: Arc<str>,
    standstills: Arc<Standstills>,
    /// As the metric calls it.
    part: &'static str,
    /// As `/readyz` calls it.
    name: Cow<'static, str>,
    patience: Patience,
}

impl Watchdog {
    /// For the part of a service that `/readyz` and the metric call by this name.
    pub(crate) fn of_service(
        service: &Arc<str>,
        standstills: &Arc<Standstills>,
        part: &'static str,
        patience: Duration,
    ) -> Self {
        let (service, standstills) = (Arc::clone(service), Arc::clone(standstills));
        Self { service, standstills, part, name: part.into(), patience: Patience::new(patience) }
    }

    /// For a part that serves all services.
    pub(crate) fn of_all(standstills: &Arc<Standstills>, part: &'static str, patience: Duration) -> Self {
        Self::of_service(&"".into(), standstills, part, patience)
    }

    /// For one of several such parts of the service: `/readyz` calls it `part.name`.
    pub(crate) fn of(mut self, name: &str) -> Self {
        self.name = format!("{}.{name}", self.part).into();
        self
    }

    /// Looks again and again. Returns once the part must be replaced; call it again for the next one.
    pub(crate) async fn until_stuck(&mut self, look: &mut impl Look) {
        loop {
            tokio::time::sleep(self.patience.look_every()).await;
            let seen = tokio::time::timeout(MAX_LOOK, look.look()).await.unwrap_or(Seen::Waits);
            let cause = match &seen {
                Seen::Stands { cause, .. } => cause.clone(),
                Seen::Moves | Seen::Waits => String::new(),
            };
            match self.patience.see(&seen, Instant::now()) {
                Act::Nothing => {}
                Act::Moves => self.moves(),
                Act::Replace { stood } => return self.replace(&cause, stood),
            }
        }
    }

    /// The part failed by itself and is made anew: it counts as a replacement.
    pub(crate) fn failed(&mut self, cause: &str) {
        self.patience.replaced = self.patience.replaced.saturating_add(1);
        self.replace(cause, Duration::ZERO);
    }

    fn replace(&self, cause: &str, stood: Duration) {
        let (service, part, replaced) = (&*self.service, &*self.name, self.patience.replaced);
        self.standstills.note(self.name.clone(), cause, replaced);
        counter!(names::REPLACED, "service" => service.to_owned(), "part" => self.part).increment(1);
        let stood_ms = stood.as_millis() as u64;
        tracing::error!(service, part, cause, stood_ms, replaced, "a part of the relay stands still; replacing it");
    }

    fn moves(&self) {
        let stood = self.standstills.clear(&self.name).unwrap_or_default();
        let (service, part) = (&*self.service, &*self.name);
        tracing::info!(service, part, stood_s = stood.as_secs(), "a part of the relay moves again");
    }
}

/// What follows from a look.
#[derive(Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    /// It moves again after it was replaced.
    Moves,
    Replace {
        stood: Duration,
    },
}

/// When patience is over. Pure.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// Nothing that happened before this counts: the part was replaced then, or waited for something.
    from: Option<Instant>,
    /// Replacements since it last moved.
    replaced: u32,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, from: None, replaced: 0 }
    }

    fn look_every(&self) -> Duration {
        (self.limit / LOOKS).clamp(MIN_LOOK_EVERY, MAX_LOOK_EVERY)
    }

    fn see(&mut self, seen: &Seen, now: Instant) -> Act {
        match seen {
            Seen::Moves if self.replaced > 0 => {
                self.replaced = 0;
                Act::Moves
            }
            Seen::Moves => Act::Nothing,
            Seen::Waits => {
                self.from = Some(now);
                Act::Nothing
            }
            Seen::Stands { since, .. } => {
                let since = self.from.map_or(*since, |from| from.max(*since));
                let stood = now.saturating_duration_since(since);
                if stood < self.limit {
                    return Act::Nothing;
                }
                self.replaced = self.replaced.saturating_add(1);
                self.from = Some(now);
                Act::Replace { stood }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn stands(since: Instant) -> Seen {
        Seen::Stands { since, cause: "it stands".into() }
    }

    #[test]
    fn what_stands_is_replaced_after_its_patience_and_each_new_one_gets_as_much() {
        let mut patience = Patience::new(PATIENCE);
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(patience.see(&stands(began), at(9)), Act::Nothing);
        assert_eq!(patience.see(&stands(began), at(10)), Act::Replace { stood: PATIENCE });
        assert_eq!(patience.see(&stands(began), at(19)), Act::Nothing, "the new one has only begun");
        assert_eq!(patience.see(&stands(began), at(20)), Act::Replace { stood: PATIENCE });
        assert_eq!(patience.replaced, 2);
        assert_eq!(patience.see(&Seen::Moves, at(21)), Act::Moves);
        assert_eq!((patience.see(&Seen::Moves, at(22)), patience.replaced), (Act::Nothing, 0));
    }

    #[test]
    fn the_time_in_which_a_server_was_away_does_not_count() {
        let mut patience = Patience::new(PATIENCE);
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(patience.see(&Seen::Waits, at(60)), Act::Nothing);
        assert_eq!(patience.see(&stands(began), at(69)), Act::Nothing);
        assert_eq!(patience.see(&stands(began), at(70)), Act::Replace { stood: PATIENCE });
    }
}
