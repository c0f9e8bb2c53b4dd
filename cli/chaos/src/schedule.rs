//! Which fault strikes when, drawn from a seed so that a run can be repeated. Pure.
//!
//! Faults strike one after the other, so that each thing a client saw belongs to one fault. Every group comes
//! once before any comes twice, as far as the span allows; the seed decides the order of the groups.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::fault::Fault;
use super::group::Group;

/// Between the end of one fault and the beginning of the next.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=4_000;
const MAX_PAUSE: Duration = Duration::from_millis(*PAUSE_MS.end());

/// One fault of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// When it begins, from the beginning of the run. Where the one before it took longer than it should, later.
    pub(crate) at: Duration,
    /// Which one, in the list that was drawn from.
    pub(crate) fault: usize,
    /// What its own chances are drawn from.
    pub(crate) seed: u64,
}

/// Draws from these faults as many as fit into the span; with `each_once` one of every group, however long that takes.
pub(crate) fn draw(seed: u64, span: Duration, faults: &[Box<dyn Fault>], each_once: bool) -> Vec<Planned> {
    let faults: Vec<Candidate> = faults.iter().map(|fault| (fault.group(), fault.duration())).collect();
    let mut plan = Plan { random: StdRng::seed_from_u64(seed), now: Duration::ZERO, planned: Vec::new() };
    plan.each_row(&faults, (!each_once).then_some(span));
    if !each_once {
        plan.fill(&faults, span);
    }
    plan.planned
}

/// What a draw depends on.
type Candidate = (Group, Duration);

struct Plan {
    random: StdRng,
    /// When the last fault ends.
    now: Duration,
    planned: Vec<Planned>,
}

impl Plan {
    /// One fault of every group. Room is kept for the shortest fault of each group that is still to come.
    fn each_row(&mut self, faults: &[Candidate], span: Option<Duration>) {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (index, (group, _)) in faults.iter().enumerate() {
            match groups.iter_mut().find(|group_of| faults[group_of[0]].0 == *group) {
                Some(group) => group.push(index),
                None => groups.push(vec![index]),
            }
        }
        groups.shuffle(&mut self.random);
        let shortest = |group: &Vec<usize>| group.iter().map(|fault| faults[*fault].1).min().unwrap_or_default();
        for (index, group) in groups.iter().enumerate() {
            let kept: Duration = groups[index + 1..].iter().map(|group| shortest(group) + MAX_PAUSE).sum();
            let Some(span) = span else {
                self.add_one(faults, group, Duration::MAX);
                continue;
            };
            if !self.add_one(faults, group, span.saturating_sub(kept)) {
                self.add_one(faults, group, span);
            }
        }
    }

    /// Whatever still fits.
    fn fill(&mut self, faults: &[Candidate], span: Duration) {
        let all: Vec<usize> = (0..faults.len()).collect();
        while self.add_one(faults, &all, span) {}
    }

    /// Adds one of these that ends by then, if there is one, whichever pause comes before it.
    fn add_one(&mut self, faults: &[Candidate], among: &[usize], until: Duration) -> bool {
        let ends_in_time = |fault: &&usize| (self.now + MAX_PAUSE).saturating_add(faults[**fault].1) <= until;
        let fitting: Vec<&usize> = among.iter().filter(ends_in_time).collect();
        let Some(fault) = fitting.choose(&mut self.random).map(|fault| **fault) else { return false };
        let at = self.now + Duration::from_millis(self.random.random_range(PAUSE_MS));
        self.now = at + faults[fault].1;
        self.planned.push(Planned { at, fault, seed: self.random.random() });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;
    use crate::fault::Struck;
    use crate::stage::Stage;

    /// A fault that is only drawn.
    struct Drawn(Candidate);

    impl Fault for Drawn {
        fn name(&self) -> String {
            "drawn".into()
        }

        fn group(&self) -> Group {
            self.0.0
        }

        fn about(&self) -> String {
            String::new()
        }

        fn duration(&self) -> Duration {
            self.0.1
        }

        fn strike<'a>(&'a self, _: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, anyhow::Result<Struck>> {
            unreachable!("nothing is struck here")
        }
    }

    const GROUPS: [Group; 5] = [Group::Kill, Group::Stall, Group::Cut, Group::Provider, Group::Postgres];

    fn any_faults() -> impl Strategy<Value = Vec<Box<dyn Fault>>> {
        let fault = (prop::sample::select(&GROUPS[..]), 0_u64..40_000);
        let boxed = |(group, ms)| Box::new(Drawn((group, Duration::from_millis(ms)))) as Box<dyn Fault>;
        prop::collection::vec(fault.prop_map(boxed), 0..12)
    }

    impl std::fmt::Debug for dyn Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?} of {:?}", self.group(), self.duration())
        }
    }

    fn groups(faults: &[Box<dyn Fault>]) -> BTreeSet<Group> {
        faults.iter().map(|fault| fault.group()).collect()
    }

    /// What a span must hold so that every group can have its shortest fault.
    fn enough(faults: &[Box<dyn Fault>]) -> Duration {
        let shortest = |group| faults.iter().filter(|fault| fault.group() == group).map(|fault| fault.duration()).min();
        groups(faults).into_iter().filter_map(shortest).map(|shortest| shortest + MAX_PAUSE).sum()
    }

    proptest! {
        #[test]
        fn a_seed_repeats(seed: u64, faults in any_faults(), seconds in 0_u64..600, each_once: bool) {
            let span = Duration::from_secs(seconds);
            prop_assert_eq!(draw(seed, span, &faults, each_once), draw(seed, span, &faults, each_once));
        }

        #[test]
        fn one_comes_after_the_other_and_the_last_ends_in_time(seed: u64, faults in any_faults(), seconds in 0_u64..600) {
            let span = Duration::from_secs(seconds);
            let mut free = Duration::ZERO;
            for planned in draw(seed, span, &faults, false) {
                let pause = planned.at - free;
                prop_assert!(pause >= Duration::from_millis(*PAUSE_MS.start()) && pause <= MAX_PAUSE);
                free = planned.at + faults[planned.fault].duration();
            }
            prop_assert!(free <= span);
        }

        #[test]
        fn every_row_comes_before_any_comes_twice(seed: u64, faults in any_faults(), more in 0_u64..300) {
            let span = enough(&faults) + Duration::from_secs(more);
            let planned = draw(seed, span, &faults, false);
            let first = planned.iter().take(groups(&faults).len()).map(|planned| faults[planned.fault].group());
            prop_assert_eq!(first.collect::<BTreeSet<_>>(), groups(&faults));
        }

        #[test]
        fn the_span_is_used(seed: u64, faults in any_faults(), seconds in 0_u64..600) {
            let span = Duration::from_secs(seconds);
            let planned = draw(seed, span, &faults, false);
            let ends = planned.last().map_or(Duration::ZERO, |last| last.at + faults[last.fault].duration());
            for fault in &faults {
                prop_assert!(ends + MAX_PAUSE + fault.duration() > span);
            }
        }

        #[test]
        fn each_once_is_each_row_once(seed: u64, faults in any_faults()) {
            let planned = draw(seed, Duration::ZERO, &faults, true);
            let drawn: Vec<Group> = planned.iter().map(|planned| faults[planned.fault].group()).collect();
            prop_assert_eq!(drawn.len(), groups(&faults).len());
            prop_assert_eq!(drawn.into_iter().collect::<BTreeSet<_>>(), groups(&faults));
        }
    }

    #[test]
    fn other_seeds_draw_other_runs() {
        let faults: Vec<Box<dyn Fault>> = GROUPS.map(|group| Box::new(Drawn((group, MAX_PAUSE))) as _).into();
        let runs: Vec<_> = (0..20).map(|seed| draw(seed, Duration::from_secs(120), &faults, false)).collect();
        assert!(runs.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
