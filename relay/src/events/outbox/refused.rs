//! Which events of a batch to try next, after Kafka refused the batch. Pure rules.
//!
//! Kafka takes a batch as a whole or not at all, and often says of several events that it refuses them where it means one:
//! records that arrive together have one answer. So the events of which nothing was said go on as one batch; those that are
//! in doubt go in smaller and smaller parts until it is known which it is; and that one's key waits, with what stands behind
//! it. Usually it is known at once. A part is the root of what is in doubt, since a try that Kafka refuses costs far more
//! than one that it takes: of 500 events in doubt 4 tries find the one.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::producer::Refusal;
use super::store::Waiting;

/// How often a part of a batch is tried again at once after Kafka refused another: the client has then a gap in the numbers of a
/// partition's records, which costs a transaction until it has begun anew.
const MAX_TRIES_AFTER_A_REFUSAL: u32 = 3;

/// A batch on its way into Kafka, in parts where Kafka refuses some of it.
#[derive(Debug)]
pub(super) struct Parts {
    /// The last one is the next: those that come first in the order of numbers stand at the end.
    left: Vec<Vec<Waiting>>,
    /// The keys that wait since this batch, each with the number of its refused event.
    waiting: HashMap<(String, String), i64>,
    again: u32,
}

impl Parts {
    pub(super) fn of(batch: Vec<Waiting>) -> Self {
        Self { left: vec![batch], waiting: HashMap::new(), again: 0 }
    }

    /// The next part, and those that were in it and stand behind an event that was refused meanwhile.
    pub(super) fn next(&mut self) -> Option<(Vec<Waiting>, Vec<Waiting>)> {
        let part = self.left.pop()?;
        let is_behind = |event: &Waiting| self.waiting.get(&event.place()).is_some_and(|refused| event.seq > *refused);
        let (behind, part) = part.into_iter().partition(is_behind);
        Some((part, behind))
    }

    /// Puts a part back that Kafka didn't take, for another try. `false`: it was tried often enough.
    pub(super) fn again(&mut self, part: Vec<Waiting>) -> bool {
        let Some(again) = self.again.checked_sub(1) else { return false };
        self.again = again;
        self.left.push(part);
        true
    }

    /// Divides a part that has several topics, one of which Kafka refuses.
    pub(super) fn by_topic(&mut self, part: Vec<Waiting>) {
        let mut topics: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
        for event in part {
            topics.entry(event.topic.clone()).or_default().push(event);
        }
        self.again = MAX_TRIES_AFTER_A_REFUSAL;
        self.left.extend(topics.into_values().rev());
    }

    /// Takes what Kafka said of a part. Answers the events whose keys wait, each with what Kafka said, and those behind them.
    pub(super) fn refuse(&mut self, part: Vec<Waiting>, said: &[Refusal]) -> (Vec<(Waiting, String)>, Vec<Waiting>) {
        let Split { refused, behind, parts } = split(part, said);
        self.again = MAX_TRIES_AFTER_A_REFUSAL;
        self.waiting.extend(refused.iter().map(|(event, _)| (event.place(), event.seq)));
        self.left.extend(parts.into_iter().rev());
        (refused, behind)
    }
}

/// What follows from a refusal. All events of the batch are in it once.
#[derive(Debug, Default)]
struct Split {
    /// Events whose keys wait, each with what Kafka said, in the order of their numbers.
    refused: Vec<(Waiting, String)>,
    /// Events that stand behind one of these.
    behind: Vec<Waiting>,
    /// What to try next, one after the other. No part depends on one after it.
    parts: Vec<Vec<Waiting>>,
}

/// Decides by what Kafka said of a batch, whose events are in the order of their numbers.
fn split(batch: Vec<Waiting>, refusals: &[Refusal]) -> Split {
    let said: HashMap<usize, &Refusal> = refusals.iter().map(|refusal| (refusal.index, refusal)).collect();
    let alone = said.len() == 1;
    let mut split = Split::default();
    let (mut clear, mut doubtful) = (Vec::new(), Vec::new());
    let (mut held, mut in_doubt) = (HashSet::new(), HashSet::new());
    for (index, event) in batch.into_iter().enumerate() {
        let place = event.place();
        match said.get(&index) {
            _ if held.contains(&place) => split.behind.push(event),
            // Behind an event in doubt of the same key nothing is known.
            _ if in_doubt.contains(&place) => doubtful.push(event),
            Some(refusal) if refusal.certain || alone => {
                held.insert(place);
                split.refused.push((event, refusal.cause.clone()));
            }
            Some(_) => {
                in_doubt.insert(place);
                doubtful.push(event);
            }
            None => clear.push(event),
        }
    }
    if !clear.is_empty() {
        split.parts.push(clear);
    }
    // Smaller than before, where that was more than one event.
    let size = (doubtful.len() as f64).sqrt() as usize;
    let mut doubtful = doubtful.into_iter();
    loop {
        let part: Vec<Waiting> = doubtful.by_ref().take(size.max(1)).collect();
        if part.is_empty() {
            return split;
        }
        split.parts.push(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(seq: i64, key: &str) -> Waiting {
        Waiting::for_tests(seq, "t", key)
    }

    fn refusal(index: usize, certain: bool) -> Refusal {
        Refusal { index, cause: "too large".into(), certain }
    }

    fn seqs(events: &[Waiting]) -> Vec<i64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn the_only_one_that_was_named_is_the_one_and_its_key_waits_behind_it() {
        let batch = vec![event(1, "a"), event(2, "b"), event(3, "a"), event(4, "b")];
        let split = split(batch, &[refusal(1, false)]);
        assert_eq!(split.refused.iter().map(|(event, _)| event.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(seqs(&split.behind), [4]);
        assert_eq!(split.parts.iter().map(|part| seqs(part)).collect::<Vec<_>>(), [[1, 3]]);
    }

    #[test]
    fn those_in_doubt_go_in_small_parts_and_the_others_at_once() {
        let batch = vec![event(1, "a"), event(2, "b"), event(3, "c"), event(4, "a"), event(5, "d"), event(6, "c")];
        let split = split(batch, &[refusal(0, false), refusal(2, false)]);
        assert!(split.refused.is_empty() && split.behind.is_empty());
        // Events 4 and 6 stand behind events 1 and 3, which are in doubt.
        assert_eq!(split.parts.iter().map(|part| seqs(part)).collect::<Vec<_>>(), [[2, 5], [1, 3], [4, 6]]);
    }

    #[test]
    fn a_topic_that_is_refused_is_refused_for_every_key() {
        let batch = vec![event(1, "a"), event(2, "b"), event(3, "a")];
        let split = split(batch, &[refusal(0, true), refusal(1, true), refusal(2, true)]);
        assert_eq!((split.refused.len(), seqs(&split.behind), split.parts.len()), (2, vec![3], 0));
    }

    /// Kafka, if every event with an odd number over `bad` were refused; it names all of the batch, or only the right ones.
    fn answer(batch: &[Waiting], bad: &HashSet<i64>, vague: bool) -> Vec<Refusal> {
        let is_bad = |event: &Waiting| bad.contains(&event.seq);
        if !batch.iter().any(is_bad) {
            return vec![];
        }
        let named = batch.iter().enumerate().filter(|(_, event)| vague || is_bad(event));
        named.map(|(index, _)| refusal(index, false)).collect()
    }

    proptest! {
        #[test]
        fn all_is_published_but_what_is_refused_and_what_is_behind_it(
            keys in proptest::collection::vec(0..12u8, 1..120),
            bad in proptest::collection::hash_set(0..120i64, 0..6),
            vague in any::<bool>(),
        ) {
            let batch: Vec<Waiting> =
                keys.iter().enumerate().map(|(seq, key)| event(seq as i64, &format!("k{key}"))).collect();
            let size = batch.len();
            let (mut parts, mut published, mut tries, mut refused) = (Parts::of(batch), Vec::new(), 0, 0);
            while let Some((part, _behind)) = parts.next() {
                tries += 1;
                let refusals = answer(&part, &bad, vague);
                if refusals.is_empty() {
                    published.extend(part.into_iter().map(|event| (event.key.clone(), event.seq)));
                    continue;
                }
                refused += 1;
                parts.refuse(part, &refusals);
            }
            let mut first_bad: HashMap<String, i64> = HashMap::new();
            for (seq, key) in keys.iter().enumerate().filter(|(seq, _)| bad.contains(&(*seq as i64))) {
                first_bad.entry(format!("k{key}")).or_insert(seq as i64);
            }
            for (seq, key) in keys.iter().enumerate() {
                let (key, seq) = (format!("k{key}"), seq as i64);
                let wanted = first_bad.get(&key).is_none_or(|first| seq < *first);
                prop_assert_eq!(published.contains(&(key.clone(), seq)), wanted, "{} of {}", seq, key);
            }
            for key in keys.iter().map(|key| format!("k{key}")) {
                let of_key: Vec<i64> = published.iter().filter(|(other, _)| *other == key).map(|(_, seq)| *seq).collect();
                prop_assert!(of_key.is_sorted(), "{key}: {of_key:?}");
            }
            prop_assert!(tries <= 2 + 32 * (1 + bad.len()), "{tries} tries for {} of {size}", bad.len());
            prop_assert!(refused <= 1 + 5 * bad.len(), "{refused} were refused for {} of {size}", bad.len());
        }
    }
}
