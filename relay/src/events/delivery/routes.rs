//! Which events of which topics go to which route of the component.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{ServiceConfig, SubscriptionConfig};
use crate::kafka::topics;

/// The topics that a service consumes: those of its subscriptions, and for each the topic of its replayed dead letters.
#[derive(Debug)]
pub(super) struct Routes {
    topics: BTreeMap<String, Topic>,
}

#[derive(Debug)]
struct Topic {
    /// The topic that the subscription names.
    base: Arc<str>,
    subscriptions: Vec<(SubscriptionConfig, Arc<str>)>,
}

impl Routes {
    pub(super) fn of(service: &ServiceConfig) -> Self {
        let mut topics = BTreeMap::new();
        for subscription in &service.subscriptions {
            let base = &subscription.topic;
            for name in [base.clone(), topics::retries(base, &service.name)] {
                let new = || Topic { base: base.as_str().into(), subscriptions: Vec::new() };
                let topic: &mut Topic = topics.entry(name).or_insert_with(new);
                topic.subscriptions.push((subscription.clone(), subscription.route.as_str().into()));
            }
        }
        Self { topics }
    }

    /// The names of all topics.
    pub(super) fn topics(&self) -> Vec<&str> {
        self.topics.keys().map(String::as_str).collect()
    }

    /// The route of an event; `None`: no subscription wants it.
    pub(super) fn route(&self, topic: &str, kind: &str) -> Option<Arc<str>> {
        let topic = self.topics.get(topic)?;
        topic
            .subscriptions
            .iter()
            .find(|(subscription, _)| subscription.wants(kind))
            .map(|(_, route)| Arc::clone(route))
    }

    /// The topic of the subscription that an event belongs to, also if it was replayed.
    pub(super) fn base(&self, topic: &str) -> Arc<str> {
        self.topics.get(topic).map_or_else(|| topic.into(), |topic| Arc::clone(&topic.base))
    }
}
