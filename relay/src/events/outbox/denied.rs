//! Topics that Kafka doesn't let this service write.
//!
//! Kafka says so when a transaction is about to begin in a topic, of the transaction as a whole, and the client library may have
//! to begin anew after it. So a topic that is denied is asked for again now and then, and not for each of its events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// How long nobody asks again.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));

/// What is known of topics, shared by a service's publishers, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Denied(Arc<Mutex<BTreeMap<String, Denial>>>);

#[derive(Debug)]
struct Denial {
    times: u32,
    until: Instant,
}

impl Denied {
    /// Whether Kafka has denied this topic just now.
    pub(super) fn is(&self, topic: &str, now: Instant) -> bool {
        self.topics().get(topic).is_some_and(|denial| now < denial.until)
    }

    /// Kafka denies this topic.
    pub(super) fn note(&self, topic: &str, now: Instant) {
        let mut topics = self.topics();
        let denial = topics.entry(topic.to_owned()).or_insert(Denial { times: 0, until: now });
        denial.times = denial.times.saturating_add(1);
        denial.until = now + AGAIN.exact(denial.times);
    }

    /// Kafka took events for these topics.
    pub(super) fn granted<'a>(&self, taken: impl Iterator<Item = &'a str>) {
        let mut topics = self.topics();
        if !topics.is_empty() {
            for topic in taken {
                topics.remove(topic);
            }
        }
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Denial>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_topic_is_asked_for_again_more_and_more_seldom_until_it_is_granted() {
        let (denied, now) = (Denied::default(), Instant::now());
        assert!(!denied.is("a", now));
        denied.note("a", now);
        assert!(denied.is("a", now + Duration::from_secs(4)) && !denied.is("b", now));
        let later = now + Duration::from_secs(5);
        assert!(!denied.is("a", later));
        denied.clone().note("a", later);
        assert!(denied.is("a", later + Duration::from_secs(9)) && !denied.is("a", later + Duration::from_secs(10)));
        denied.granted(["b", "a"].into_iter());
        denied.note("a", later);
        assert!(!denied.is("a", later + Duration::from_secs(5)));
    }
}
