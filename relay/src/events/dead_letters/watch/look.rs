//! The watchdog's look at what counts dead letters: is all counted that Kafka has?

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Read;
use crate::config::KafkaConfig;
use crate::kafka::Outside;
use crate::kafka::topics::Topics;
use crate::watchdog::{Look, Seen};

type Place = (String, i32);

pub(super) struct Eye {
    outside: Outside,
    places: Vec<Place>,
    topics: Topics,
    read: Read,
    stop: CancellationToken,
    /// Topics that are not read to their end: up to where, and since when it is so.
    still: BTreeMap<Place, (Option<i64>, Instant)>,
}

impl Look for Eye {
    async fn look(&mut self) -> Seen {
        let there: Vec<Place> = self.places.iter().filter(|(topic, _)| self.topics.is_there(topic)).cloned().collect();
        if there.is_empty() || self.stop.is_cancelled() {
            return Seen::Moves;
        }
        let Ok(ends) = self.outside.ends(there).await else {
            self.still.clear();
            return Seen::Waits;
        };
        let before = std::mem::take(&mut self.still);
        for (place, end) in ends {
            let next = self.read.next(&place);
            if next.unwrap_or(0) >= end {
                continue;
            }
            let since = before.get(&place).filter(|(at, _)| *at == next).map_or_else(Instant::now, |(_, since)| *since);
            self.still.insert(place, (next, since));
        }
        let longest = self.still.iter().min_by_key(|(_, (_, since))| *since);
        longest.map_or(Seen::Moves, |((topic, _), (at, since))| Seen::Stands {
            since: *since,
            cause: format!("letters in {topic} are not counted; it stands at {}", at.unwrap_or(0)),
        })
    }
}

impl Eye {
    pub(super) fn new(
        kafka: &KafkaConfig,
        places: Vec<Place>,
        topics: Topics,
        read: Read,
        stop: CancellationToken,
    ) -> Self {
        let outside = Outside::new(kafka, "dead-letters");
        Self { outside, places, topics, read, stop, still: BTreeMap::new() }
    }
}
