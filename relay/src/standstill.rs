//! What stands still, and why, for `/readyz`: parts of the relay that should move and don't.
//!
//! Whoever sees a part stand still says so here, and whoever sees it move takes it back. [`crate::watchdog`] looks from
//! outside; a lane whose component takes no delivery says so itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The parts of one service that stand still.
#[derive(Debug, Default)]
pub(crate) struct Standstills(Mutex<BTreeMap<Cow<'static, str>, Standstill>>);

#[derive(Debug)]
struct Standstill {
    since: Instant,
    cause: String,
    replaced: u32,
}

/// One part that stands still, as `/readyz` tells it.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Told {
    /// For how many seconds.
    pub(crate) seconds: u64,
    /// Why.
    pub(crate) cause: String,
    /// How often the relay has replaced it since it stands still.
    pub(crate) replaced: u32,
}

impl Standstills {
    /// A part stands still for this cause, after it was replaced so often. The first one to say so begins its time. Answers
    /// whether nobody has said it before.
    pub(crate) fn note(&self, part: impl Into<Cow<'static, str>>, cause: &str, replaced: u32) -> bool {
        let mut parts = self.parts();
        let before = parts.len();
        let part = parts.entry(part.into()).or_insert_with(|| Standstill {
            since: Instant::now(),
            cause: String::new(),
            replaced,
        });
        part.replaced = replaced;
        cause.clone_into(&mut part.cause);
        parts.len() > before
    }

    /// A part moves. Answers for how long it stood still, where it did.
    pub(crate) fn clear(&self, part: &str) -> Option<Duration> {
        Some(self.parts().remove(part)?.since.elapsed())
    }

    /// All that stands still.
    pub(crate) fn all(&self) -> BTreeMap<String, Told> {
        let told = |part: &Standstill| Told {
            seconds: part.since.elapsed().as_secs(),
            cause: part.cause.clone(),
            replaced: part.replaced,
        };
        self.parts().iter().map(|(name, part)| (name.to_string(), told(part))).collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Standstill>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cause_is_told_and_the_first_moment_counts() {
        let standing = Standstills::default();
        assert_eq!(standing.clear("outbox"), None);
        assert!(standing.note("outbox", "first", 0));
        assert!(!standing.note("outbox", "second", 1), "that is known");
        assert_eq!(standing.all()["outbox"], Told { seconds: 0, cause: "second".into(), replaced: 1 });
        assert!(standing.clear("outbox").is_some());
        assert!(standing.all().is_empty());
    }
}
