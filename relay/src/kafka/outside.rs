//! Kafka, seen by a client that does no work: how things stand beside what the working clients believe.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::assignment;
use super::client::{Log, client};
use super::lazy::Lazy;
use super::rights::is_denied;
use super::threads::blocking;
use super::topics;
use crate::config::KafkaConfig;

/// How long one look may take. A broker that is slower doesn't answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// A client that only looks. It is no member of a group. Connects when it is first asked, and anew after it failed.
pub(crate) struct Outside {
    group: String,
    client: Lazy<BaseConsumer<Log>>,
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
    /// Its first record, where nothing was committed yet.
    pub(crate) begin: i64,
    /// Up to where it can be read: behind the last committed transaction.
    pub(crate) end: i64,
}

impl Outside {
    /// Looks at this service's group.
    pub(crate) fn new(kafka: &KafkaConfig, service: &str) -> Self {
        let (group, role) = (topics::group(kafka, service), format!("watch-{service}"));
        let mut config = client(kafka, &role);
        config.set("group.id", &group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        Self { group, client: Lazy::new(move || config.create_with_context(Log::new(role.as_str()))) }
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
            let committed = offsets(&client.committed_offsets(list, LOOK_TIMEOUT)?)?;
            let of = |place: &(String, i32)| committed.get(place).copied().flatten();
            let ends = bounds(client, &places, Offset::End)?;
            let new: Vec<(String, i32)> = places.iter().filter(|place| of(place).is_none()).cloned().collect();
            let begins = if new.is_empty() { BTreeMap::new() } else { bounds(client, &new, Offset::Beginning)? };
            let seen = places.into_iter().map(|place| {
                let bound = |of: &BTreeMap<(String, i32), Option<i64>>| of.get(&place).copied().flatten().unwrap_or(0);
                let (committed, begin, end) = (of(&place), bound(&begins), bound(&ends));
                PartitionSeen { topic: place.0, partition: place.1, committed, begin, end }
            });
            Ok(seen.collect())
        })
        .await
    }

    /// Where these partitions end, up to where they can be read.
    pub(crate) async fn ends(
        &mut self,
        places: Vec<(String, i32)>,
    ) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
        self.look(move |client| {
            let ends = bounds(client, &places, Offset::End)?;
            Ok(ends.into_iter().filter_map(|(place, end)| Some((place, end?))).collect())
        })
        .await
    }

    async fn partitions(&mut self, topics: Vec<String>) -> Result<usize, KafkaError> {
        self.look(move |client| {
            let mut count = 0;
            for topic in &topics {
                let metadata = client.fetch_metadata(Some(topic), LOOK_TIMEOUT)?;
                let errors = metadata.topics().iter().filter_map(|topic| topic.error());
                let mut errors = errors.map(|error| KafkaError::MetadataFetch(error.into()));
                if let Some(denied) = errors.find(is_denied) {
                    return Err(denied);
                }
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
        let client = self.client.get()?;
        let seen = blocking(move || look(&client)).await;
        if seen.is_err() {
            self.client.forget();
        }
        seen
    }
}

/// Where partitions begin or end, up to where they can be read. One request to each broker, however many partitions it leads.
fn bounds(
    client: &BaseConsumer<Log>,
    places: &[(String, i32)],
    which: Offset,
) -> Result<BTreeMap<(String, i32), Option<i64>>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        // Kafka's request for the offset of a time has two times that mean the beginning and the end.
        list.add_partition_offset(topic, *partition, which)?;
    }
    offsets(&client.offsets_for_times(list, LOOK_TIMEOUT)?)
}

fn offsets(list: &TopicPartitionList) -> Result<BTreeMap<(String, i32), Option<i64>>, KafkaError> {
    let offset = |element: TopicPartitionListElem<'_>| {
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(((element.topic().to_owned(), element.partition()), offset))
    };
    list.elements().into_iter().map(offset).collect()
}
