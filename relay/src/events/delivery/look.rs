//! The watchdog's look at a consumer: does its loop come round, has it partitions, does somebody work each lane, does it fetch
//! what there is, does Kafka have what it has done?
//!
//! A lane that waits for its component is no standstill: its events are in the buffer, and what stands behind them is fetched
//! until that is full.
//! Each wait of a lane's worker ends by itself, so that it is enough to see that there is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use super::group::{Group, InPartition, Place};
use crate::config::KafkaConfig;
use crate::kafka::{GroupSeen, Outside, PartitionSeen, is_denied};
use crate::watchdog::{Look, Seen, Since};

/// A loop that doesn't come round for this long is worth a question to Kafka.
const MAX_TURN: Duration = Duration::from_secs(3);
/// How late a client finds partitions that were added: it refreshes its metadata every 15 s.
const FOUND_AFTER: Duration = Duration::from_secs(20);
/// How often the offsets in Kafka are looked at.
const OFFSETS_EVERY: Duration = Duration::from_secs(5);
/// A client that fetches nothing for this long may have met a record that it can't read.
const UNREAD_AFTER: Duration = Duration::from_secs(4);

pub(super) struct Eye {
    group: Arc<Group>,
    outside: Outside,
    without_partitions: Since,
    deserted: Since,
    /// Partitions that no member of the group has, how many, and since when there are any.
    left_out: Option<(usize, Instant)>,
    /// Partitions whose offsets should have moved: as they were, and since when.
    still: BTreeMap<Place, Still>,
    offsets_at: Instant,
}

/// What of a partition should move.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Still {
    since: Instant,
    at: i64,
    what: What,
}

/// What doesn't happen in a partition though it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Fetching,
    Committing,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        if self.group.service.lifecycle.stop_calling.is_cancelled() {
            return Seen::Waits;
        }
        let turn = self.group.membership.since_turn();
        if turn > MAX_TURN {
            let cause = format!("its loop has not come round for {} s", turn.as_secs());
            return if self.answers().await { stands(turn, cause) } else { Seen::Waits };
        }
        let places = self.group.places();
        if places.is_empty() {
            return self.without_partitions().await;
        }
        self.without_partitions.note(false);
        if let Some(since) = self.group.membership.in_doubt_since()
            && since.elapsed() > MAX_TURN
        {
            let cause = "Kafka doesn't confirm after a stall that it is a member of its group".to_owned();
            return if self.answers().await { Seen::Stands { since, cause } } else { Seen::Waits };
        }
        let deserted = self.group.deserted();
        let (Some(since), Some(((topic, partition), lanes))) = (self.deserted.note(deserted.is_some()), deserted)
        else {
            return self.offsets(places).await;
        };
        Seen::Stands {
            since,
            cause: format!("{lanes} lanes of partition {partition} of {topic} have nobody who works them"),
        }
    }
}

impl Eye {
    pub(super) fn new(group: Arc<Group>, kafka: &KafkaConfig) -> Self {
        let now = Instant::now();
        let outside = Outside::new(kafka, &group.service.name);
        Self {
            group,
            outside,
            without_partitions: Since::default(),
            deserted: Since::default(),
            left_out: None,
            still: BTreeMap::new(),
            offsets_at: now,
        }
    }

    /// Whether it fetches what there is, and Kafka has what it has done.
    async fn offsets(&mut self, places: Vec<Place>) -> Seen {
        if self.offsets_at.elapsed() >= OFFSETS_EVERY {
            self.offsets_at = Instant::now();
            let (group, offsets) = match self.ask(places).await {
                Ok(seen) => seen,
                Err(error) => {
                    self.heard(&error);
                    self.left_out = None;
                    self.still.clear();
                    return Seen::Waits;
                }
            };
            let left_out = group.partitions.saturating_sub(group.assigned.unwrap_or(group.partitions));
            let since = self.left_out.map_or_else(Instant::now, |(_, since)| since);
            self.left_out = (left_out > 0).then_some((left_out, since));
            self.compare(&offsets);
            let unread = |still: &Still| still.what == What::Fetching && still.since.elapsed() >= UNREAD_AFTER;
            if self.still.values().any(unread) {
                self.group.unreadable.notify_one();
            }
            if self.still.is_empty() && self.left_out.is_none() {
                self.group.works();
            }
        }
        if let Some((left_out, since)) = self.left_out.map(|(count, since)| (count, since + FOUND_AFTER))
            && since < Instant::now()
        {
            return Seen::Stands {
                since,
                cause: format!("{left_out} partitions of its topics have no member of the group"),
            };
        }
        let longest = self.still.iter().min_by_key(|(_, still)| still.since);
        longest.map_or(Seen::Moves, |((topic, partition), still)| {
            let what = match still.what {
                What::Fetching => "fetches nothing from",
                What::Committing => "has handled more than Kafka knows of",
            };
            let cause = format!("it {what} partition {partition} of {topic}; it stands at {}", still.at);
            Seen::Stands { since: still.since, cause }
        })
    }

    async fn ask(&mut self, places: Vec<Place>) -> Result<(GroupSeen, Vec<PartitionSeen>), KafkaError> {
        Ok((self.outside.group(self.topics()).await?, self.outside.offsets(places).await?))
    }

    /// Whether others have all partitions with good reason.
    async fn without_partitions(&mut self) -> Seen {
        self.still.clear();
        let seen = self.outside.group(self.topics()).await;
        let Some(since) = self.without_partitions.note(seen.is_ok()) else { return Seen::Waits };
        match seen {
            // This relay may be none of the members.
            Ok(seen) if seen.members > seen.partitions => {
                self.group.works();
                self.group.service.first_shares.deliveries.store(true, Ordering::Relaxed);
                Seen::Moves
            }
            Ok(seen) => {
                let (members, partitions) = (seen.members, seen.partitions);
                let cause =
                    format!("it has no partition, though the group has {members} members for {partitions} partitions");
                Seen::Stands { since, cause }
            }
            Err(error) => {
                self.heard(&error);
                Seen::Waits
            }
        }
    }

    /// Kafka doesn't answer, which others tell, or denies the answer.
    fn heard(&self, error: &KafkaError) {
        if is_denied(error) {
            self.group.heard(error);
        }
    }

    /// Notes which partitions should have moved since the last look and have not.
    fn compare(&mut self, seen: &[PartitionSeen]) {
        let before = std::mem::take(&mut self.still);
        for partition in seen {
            let place = (partition.topic.clone(), partition.partition);
            let Some(progress) = self.group.progress(&place) else { continue };
            let Some((at, what)) = lag(partition, &progress) else { continue };
            let since = match before.get(&place) {
                Some(still) if (still.at, still.what) == (at, what) => still.since,
                _ => Instant::now(),
            };
            self.still.insert(place, Still { since, at, what });
        }
    }

    /// Whether Kafka answers others. Where it doesn't, nothing of this relay is to blame.
    async fn answers(&mut self) -> bool {
        self.outside.answers(self.topics()).await.is_ok()
    }

    fn topics(&self) -> Vec<String> {
        self.group.routes.topics().into_iter().map(str::to_owned).collect()
    }
}

/// What should move in a partition, and where it stands.
fn lag(seen: &PartitionSeen, relay: &InPartition) -> Option<(i64, What)> {
    if let Some(low_water) = relay.low_water
        && seen.committed.is_none_or(|committed| committed < low_water)
    {
        return Some((seen.committed.unwrap_or(-1), What::Committing));
    }
    // A client that has not found the partition's leader, or its own offset, doesn't know where it is.
    let next = relay.next.or(seen.committed).unwrap_or(seen.begin);
    (!relay.busy && next < seen.end).then_some((next, What::Fetching))
}

fn stands(since: Duration, cause: String) -> Seen {
    Seen::Stands { since: Instant::now().checked_sub(since).unwrap_or_else(Instant::now), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(committed: Option<i64>, end: i64) -> PartitionSeen {
        PartitionSeen { topic: "t".into(), partition: 0, committed, begin: 5, end }
    }

    #[test]
    fn what_should_move_is_told_from_what_has_nothing_to_do() {
        let relay = |next, low_water, busy| InPartition { next: Some(next), low_water, busy };
        let cases = [
            ("all is fetched, done and committed", seen(Some(7), 8), relay(8, Some(7), false), None),
            ("events wait in Kafka", seen(Some(7), 12), relay(8, Some(7), false), Some((8, What::Fetching))),
            ("the buffer is full", seen(Some(7), 12), relay(9, Some(7), true), None),
            (
                "a lane waits for its component, and what is behind it is not fetched",
                seen(Some(7), 12),
                relay(9, Some(7), false),
                Some((9, What::Fetching)),
            ),
            (
                "Kafka knows less than was done",
                seen(Some(7), 12),
                relay(12, Some(11), false),
                Some((7, What::Committing)),
            ),
            ("Kafka knows nothing of it", seen(None, 12), relay(12, Some(11), false), Some((-1, What::Committing))),
            ("nothing was ever fetched", seen(None, 12), InPartition::default(), Some((5, What::Fetching))),
            ("nothing was fetched yet", seen(Some(7), 12), InPartition::default(), Some((7, What::Fetching))),
            ("there is nothing to fetch", seen(Some(12), 12), InPartition::default(), None),
            ("it is empty", seen(None, 5), InPartition::default(), None),
        ];
        for (what, seen, relay, expected) in cases {
            assert_eq!(lag(&seen, &relay), expected, "{what}");
        }
    }
}
