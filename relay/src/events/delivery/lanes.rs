//! Lanes: in order within a key, in parallel across keys. Pure rules.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Queues by key. A lane exists while it holds an event; the worker that was spawned with it works until it is empty.
#[derive(Debug)]
pub(crate) struct Lanes<K, T> {
    queues: HashMap<K, VecDeque<T>>,
    len: usize,
}

impl<K: Eq + Hash + Clone, T: Clone> Lanes<K, T> {
    pub(crate) fn new() -> Self {
        Self { queues: HashMap::new(), len: 0 }
    }

    /// Appends to a lane. `true`: the lane is new and needs a worker.
    #[must_use]
    pub(crate) fn push(&mut self, key: K, item: T) -> bool {
        self.len += 1;
        let queue = self.queues.entry(key).or_default();
        queue.push_back(item);
        queue.len() == 1
    }

    /// The first event of a lane. It stays there until it is done.
    pub(crate) fn front(&self, key: &K) -> Option<T> {
        self.queues.get(key)?.front().cloned()
    }

    /// Removes the first event of a lane, which is done. `false`: the lane is empty and gone.
    pub(crate) fn done(&mut self, key: &K) -> bool {
        let Some(queue) = self.queues.get_mut(key) else { return false };
        self.len -= usize::from(queue.pop_front().is_some());
        if queue.is_empty() {
            self.queues.remove(key);
            return false;
        }
        true
    }

    /// How many lanes there are.
    pub(crate) fn count(&self) -> usize {
        self.queues.len()
    }

    /// How many events are in all lanes.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// An event with this key arrives.
        Arrive(u8),
        /// One of those who work a lane finishes its first.
        Finish(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(0u8..5).prop_map(Step::Arrive), any::<prop::sample::Index>().prop_map(Step::Finish)]
    }

    proptest! {
        /// Each lane has exactly one worker while it holds anything, and within a key the order of arrival is the order
        /// of work.
        #[test]
        fn order_holds_within_a_key(steps in proptest::collection::vec(step(), 0..300)) {
            let mut lanes = Lanes::new();
            let mut workers: Vec<u8> = Vec::new();
            let mut arrived: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            let mut worked: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            let mut finish = |lanes: &mut Lanes<u8, usize>, workers: &mut Vec<u8>, at: usize| {
                let key = workers[at];
                worked.entry(key).or_default().push(lanes.front(&key).unwrap());
                if !lanes.done(&key) {
                    workers.swap_remove(at);
                }
            };
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Arrive(key) => {
                        arrived.entry(key).or_default().push(number);
                        if lanes.push(key, number) {
                            prop_assert!(!workers.contains(&key));
                            workers.push(key);
                        }
                    }
                    Step::Finish(which) if !workers.is_empty() => {
                        let at = which.index(workers.len());
                        finish(&mut lanes, &mut workers, at);
                    }
                    Step::Finish(_) => {}
                }
                prop_assert_eq!(lanes.len() == 0, workers.is_empty());
            }
            while !workers.is_empty() {
                finish(&mut lanes, &mut workers, 0);
            }
            prop_assert_eq!(lanes.len(), 0);
            prop_assert_eq!(arrived, worked);
        }
    }
}
