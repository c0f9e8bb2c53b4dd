//! What this relay knows of its topics: each is there, or refused, or not asked for yet.
//!
//! A topic that Kafka refuses to create holds back what uses it, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::watch;

/// What Kafka said of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    There,
    /// For this reason it doesn't create it.
    Refused(RDKafkaErrorCode),
}

/// What is known of the topics. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(Arc<watch::Sender<BTreeMap<String, Seen>>>);

impl Topics {
    pub(super) fn note(&self, topic: &str, seen: Seen) {
        self.0.send_if_modified(|known| known.insert(topic.to_owned(), seen) != Some(seen));
    }

    /// Whether Kafka refused to create this topic when it was last asked.
    pub(crate) fn refused(&self, topic: &str) -> bool {
        matches!(self.0.borrow().get(topic), Some(Seen::Refused(_)))
    }

    /// Whether Kafka has this topic, as far as is known.
    pub(crate) fn is_there(&self, topic: &str) -> bool {
        self.0.borrow().get(topic) == Some(&Seen::There)
    }

    /// Waits until this topic is there.
    pub(crate) async fn until_there(&self, topic: &str) {
        self.until(|known| known.get(topic) == Some(&Seen::There)).await;
    }

    /// Waits until it is known of each of these topics whether it is there or refused.
    pub(crate) async fn until_known(&self, topics: &[String]) {
        self.until(|all| topics.iter().all(|topic| all.contains_key(topic))).await;
    }

    async fn until(&self, holds: impl Fn(&BTreeMap<String, Seen>) -> bool) {
        // The sender lives as long as this value, so waiting doesn't fail.
        let _ = self.0.subscribe().wait_for(holds).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_needs_a_topic_waits_for_that_one() {
        let topics = Topics::default();
        let (both, there) = (["a".to_owned(), "b".to_owned()], topics.until_there("b"));
        let known = topics.until_known(&both);
        tokio::pin!(known, there);
        topics.note("a", Seen::There);
        assert!(futures::poll!(&mut known).is_pending());
        topics.note("b", Seen::Refused(RDKafkaErrorCode::InvalidReplicationFactor));
        known.await;
        assert!(topics.refused("b") && !topics.refused("a") && !topics.refused("c"));
        assert!(futures::poll!(&mut there).is_pending());
        topics.note("b", Seen::There);
        there.await;
        assert!(!topics.refused("b"));
    }
}
