//! What this relay knows of its topics: each is there, or refused, or not asked for yet.
//!
//! A topic that Kafka refuses to create holds back what uses it, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    Refused,
}

/// What is known of the topics. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(Arc<watch::Sender<BTreeMap<String, State>>>);

impl Topics {
    pub(super) fn is_there(&self, topic: &str) {
        self.set(topic, State::There);
    }

    pub(super) fn is_refused(&self, topic: &str) {
        self.set(topic, State::Refused);
    }

    fn set(&self, topic: &str, state: State) {
        self.0.send_if_modified(|known| known.insert(topic.to_owned(), state) != Some(state));
    }

    /// Whether Kafka refused to create this topic when it was last asked.
    pub(crate) fn refused(&self, topic: &str) -> bool {
        self.0.borrow().get(topic) == Some(&State::Refused)
    }

    /// Waits until this topic is there.
    pub(crate) async fn until_there(&self, topic: &str) {
        self.until(|known| known.get(topic) == Some(&State::There)).await;
    }

    /// Waits until it is known of each of these topics whether it is there or refused.
    pub(crate) async fn until_known(&self, topics: &[String]) {
        self.until(|all| topics.iter().all(|topic| all.contains_key(topic))).await;
    }

    async fn until(&self, holds: impl Fn(&BTreeMap<String, State>) -> bool) {
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
        topics.is_there("a");
        assert!(futures::poll!(&mut known).is_pending());
        topics.is_refused("b");
        known.await;
        assert!(topics.refused("b") && !topics.refused("a") && !topics.refused("c"));
        assert!(futures::poll!(&mut there).is_pending());
        topics.is_there("b");
        there.await;
        assert!(!topics.refused("b"));
    }
}
