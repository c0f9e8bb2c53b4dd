//! Kafka, seen by a client that does no work: how things stand beside what the working clients believe.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::assignment;
use super::client::{Log, client};
use super::threads::{blocking, dispose};
use super::topics;
use crate::config::KafkaConfig;

/// How long one look may take. A broker that is slower doesn't answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// A client that only looks. It is no member of a group. Connects when it is first asked, and anew after it failed.
pub(crate) struct Outside {
    kafka: Arc<KafkaConfig>,
    role: String,
    group: String,
    client: Option<Arc<BaseConsumer<Log>>>,
}

/// A consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupSeen {
    /// How many members it has.
    pub(crate) members: usize,
    /// How many partitions the topics have.
    pub(crate) partitions: usize,
    /// How many partitions its members have; `None` while it rebalances.
    pub(crate) assigned: Option<usize>,
}

/// A partition: what its group has committed, and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionSeen {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// `None` where nothing was committed yet.
    pub(crate) committed: Option<i64>,
    /// Its first record.
    pub(crate) begin: i64,
    /// Up to where it can be read: behind the last committed transaction.
    pub(crate) end: i64,
}

impl Outside {
    /// Looks at this service's group.
    pub(crate) fn new(kafka: Arc<KafkaConfig>, service: &str) -> Self {
        let group = topics::group(&kafka, service);
        Self { kafka, role: format!("watch-{service}"), group, client: None }
    }

    /// Whether Kafka answers, and each partition of the topics has a leader.
    pub(crate) async fn answers(&mut self, topics: Vec<String>) -> Result<(), KafkaError> {
        self.partitions(topics).await.map(drop)
    }

    /// The group, beside the partitions of its topics.
    pub(crate) async fn group(&mut self, topics: Vec<String>) -> Result<GroupSeen, KafkaError> {
        let partitions = self.partitions(topics).await?;
        let group = self.group.clone();
        self.look(move |client| {
            let list = client.fetch_group_list(Some(&group), LOOK_TIMEOUT)?;
            let groups = list.groups();
            let seen = groups.iter().find(|seen| seen.name() == group);
            let assigned = seen.filter(|seen| seen.state() == "Stable").and_then(|seen| {
                seen.members().iter().map(|member| assignment::count(member.assignment()?)).sum::<Option<usize>>()
            });
            Ok(GroupSeen { members: seen.map_or(0, |seen| seen.members().len()), partitions, assigned })
        })
        .await
    }

    /// What the group has committed in these partitions, and where they end.
    pub(crate) async fn offsets(&mut self, places: Vec<(String, i32)>) -> Result<Vec<PartitionSeen>, KafkaError> {
        self.look(move |client| {
            let mut list = TopicPartitionList::with_capacity(places.len());
            for (topic, partition) in &places {
                list.add_partition(topic, *partition);
            }
            let committed = client.committed_offsets(list, LOOK_TIMEOUT)?;
            let seen = committed.elements().into_iter().map(|element| {
                let (topic, partition) = (element.topic().to_owned(), element.partition());
                let (begin, end) = client.fetch_watermarks(&topic, partition, LOOK_TIMEOUT)?;
                let committed = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                Ok(PartitionSeen { topic, partition, committed, begin, end })
            });
            seen.collect()
        })
        .await
    }

    async fn partitions(&mut self, topics: Vec<String>) -> Result<usize, KafkaError> {
        self.look(move |client| {
            let mut count = 0;
            for topic in &topics {
                let metadata = client.fetch_metadata(Some(topic), LOOK_TIMEOUT)?;
                for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                    if partition.leader() < 0 {
                        return Err(KafkaError::MetadataFetch(rdkafka::error::RDKafkaErrorCode::LeaderNotAvailable));
                    }
                    count += 1;
                }
            }
            Ok(count)
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&BaseConsumer<Log>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let client = match &self.client {
            Some(client) => Arc::clone(client),
            None => Arc::clone(self.client.insert(Arc::new(self.connect()?))),
        };
        let seen = blocking(move || look(&client)).await;
        if seen.is_err() {
            dispose(self.client.take());
        }
        seen
    }

    fn connect(&self) -> Result<BaseConsumer<Log>, KafkaError> {
        let mut config = client(&self.kafka, &self.role);
        config.set("group.id", &self.group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.create_with_context(Log::new(self.role.as_str()))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        dispose(self.client.take());
    }
}
