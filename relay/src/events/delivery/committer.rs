//! Commits of offsets, one after the other, on a thread of their own. librdkafka tells the outcome of a commit only to whoever
//! waits for it: its event for answered commits comes for those that it sends by itself, and for no other. So this thread
//! waits, and the poll loop doesn't.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::group::{Group, Place, list};

/// Takes commits for a consumer. Its thread ends with it, once the commit under way is answered.
pub(super) struct Committer {
    group: Arc<Group>,
    lists: Sender<TopicPartitionList>,
}

impl Committer {
    pub(super) fn begin<C>(consumer: &Arc<BaseConsumer<C>>, group: &Arc<Group>) -> io::Result<Self>
    where
        C: ConsumerContext + 'static,
    {
        let (lists, incoming) = channel::<TopicPartitionList>();
        let (consumer, answered) = (Arc::downgrade(consumer), Arc::clone(group));
        thread::Builder::new().name("commits".into()).spawn(move || {
            for list in incoming {
                let result = commit(&consumer, &list);
                answered.membership.commit_answered(result.is_ok());
                if let Err(error) = result {
                    tracing::debug!(service = &*answered.service.name, %error, "committing offsets failed; retrying");
                    answered.commit_failed();
                }
            }
        })?;
        Ok(Self { group: Arc::clone(group), lists })
    }

    /// Commits these marks. [`Membership`](super::membership::Membership) hears of the answer.
    pub(super) fn commit(&self, marks: &[(Place, i64)]) {
        if marks.is_empty() {
            return;
        }
        self.group.membership.commit_sent();
        if self.lists.send(list(marks)).is_err() {
            self.group.membership.commit_answered(false);
            self.group.commit_failed();
        }
    }
}

/// The consumer is let go of before anybody hears of the answer: whoever stops then is the last to have it, and so closes it.
fn commit<C: ConsumerContext>(consumer: &Weak<BaseConsumer<C>>, list: &TopicPartitionList) -> KafkaResult<()> {
    let gone = KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownGroup);
    consumer.upgrade().ok_or(gone)?.commit(list, CommitMode::Sync)
}
