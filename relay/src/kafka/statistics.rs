//! What the relay reads of a client's statistics, which say much more: how far it has fetched, and what it could not take apart.
//! Names as librdkafka's STATISTICS.md has them.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

/// A client's statistics.
#[derive(Deserialize)]
pub(crate) struct Statistics {
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    rxpartial: u64,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<i32, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    next_offset: i64,
}

impl Statistics {
    /// Reads what a client tells. `None` where it isn't what is expected.
    pub(crate) fn read(told: &[u8]) -> Option<Self> {
        serde_json::from_slice(told).inspect_err(|error| tracing::debug!(%error, "reading a client's statistics")).ok()
    }

    /// The next offset of each partition, where one is known.
    pub(crate) fn next(self) -> BTreeMap<(String, i32), i64> {
        let mut next = BTreeMap::new();
        for (topic, seen) in self.topics {
            let known = seen.partitions.into_iter().filter(|(_, partition)| partition.next_offset >= 0);
            next.extend(known.map(|(partition, seen)| ((topic.clone(), partition), seen.next_offset)));
        }
        next
    }

    /// How many answers had no whole record.
    pub(crate) fn partial(&self) -> u64 {
        self.brokers.values().map(|broker| broker.rxpartial).sum()
    }
}
