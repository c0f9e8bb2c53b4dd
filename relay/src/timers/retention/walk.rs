//! A sweep's walk through the blocks of a table. Pure.
//!
//! The table is divided into [`LANES`], and each sweep goes on a little in each of them, so that old rows are found early,
//! wherever they are. Where a step finds many, the walk goes on from there, in both directions, as long as it does.

use std::collections::VecDeque;
use std::ops::Range;

/// Parts of the table through which a sweep walks side by side.
const LANES: u64 = 16;
/// Blocks of one step: one transaction, some thousand rows.
pub(super) const STEP_BLOCKS: u64 = 32;

/// What is left of a sweep.
#[derive(Debug)]
pub(super) struct Walk {
    blocks: u64,
    position: u64,
    left: VecDeque<Step>,
    /// A sweep that finds old rows everywhere ends nevertheless.
    steps: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    blocks: Range<u64>,
    then: Then,
}

/// Where the walk goes on if a step finds many old rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Both,
    Up,
    Down,
}

impl Walk {
    /// Through this part of a table of so many blocks, from a position on within each lane.
    pub(super) fn new(blocks: u64, position: u64, part: f64) -> Self {
        let lane = blocks.div_ceil(LANES).next_multiple_of(STEP_BLOCKS).max(STEP_BLOCKS);
        let quota = ((lane as f64 * part).ceil() as u64).next_multiple_of(STEP_BLOCKS).clamp(STEP_BLOCKS, lane);
        let position = if position < lane { position / STEP_BLOCKS * STEP_BLOCKS } else { 0 };
        let mut left = VecDeque::new();
        for offset in (0..quota).step_by(STEP_BLOCKS as usize) {
            let offset = (position + offset) % lane;
            for start in (0..LANES).map(|number| number * lane + offset).filter(|start| *start < blocks) {
                left.push_back(Step { blocks: start..start + STEP_BLOCKS, then: Then::Both });
            }
        }
        Self { blocks, position: (position + quota) % lane, left, steps: blocks.div_ceil(STEP_BLOCKS) * 2 }
    }

    /// The next blocks to be looked at; `None` once the sweep is over.
    pub(super) fn next(&mut self) -> Option<Range<u64>> {
        if self.steps == 0 {
            return None;
        }
        self.left.front().map(|step| step.blocks.clone())
    }

    /// What the step through these blocks found. A step that failed isn't reported, and comes again.
    pub(super) fn found(&mut self, blocks: &Range<u64>, deleted: u64) {
        let Some(step) = self.left.pop_front() else { return };
        self.steps = self.steps.saturating_sub(1);
        if deleted < STEP_BLOCKS {
            return;
        }
        if step.then != Then::Down && blocks.end < self.blocks {
            self.left.push_front(Step { blocks: blocks.end..blocks.end + STEP_BLOCKS, then: Then::Up });
        }
        if step.then != Then::Up && blocks.start >= STEP_BLOCKS {
            self.left.push_front(Step { blocks: blocks.start - STEP_BLOCKS..blocks.start, then: Then::Down });
        }
    }

    /// Where the next sweep begins in each lane.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Walks with these blocks being full of old rows; answers the steps that it took.
    fn sweep(blocks: u64, position: &mut u64, part: f64, old: &mut BTreeSet<u64>) -> u64 {
        let (mut walk, mut steps) = (Walk::new(blocks, *position, part), 0);
        while let Some(step) = walk.next() {
            let before = old.len();
            old.retain(|block| !step.contains(block));
            walk.found(&step, (before - old.len()) as u64 * 60);
            steps += 1;
        }
        *position = walk.position();
        steps
    }

    #[test]
    fn a_sweep_that_finds_nothing_touches_its_part_alone() {
        let mut position = 0;
        let steps = sweep(160_000, &mut position, 1.0 / 360.0, &mut BTreeSet::new());
        assert_eq!((steps * STEP_BLOCKS, position), (512, 32));
        assert_eq!(sweep(160_000, &mut position, 0.01, &mut BTreeSet::new()) * STEP_BLOCKS, 16 * 128);
    }

    #[test]
    fn a_region_that_is_old_goes_at_once_wherever_it_is() {
        for from in [0, 37_000, 149_000] {
            let mut old: BTreeSet<u64> = (from..from + 11_000).collect();
            sweep(160_000, &mut 0, 0.001, &mut old);
            assert!(old.is_empty(), "{from}: {} are left", old.len());
        }
    }

    proptest! {
        #[test]
        fn every_block_comes_once_in_a_cycle(blocks in 0u64..20_000, sweeps in 1u32..40, at in 0u64..5_000) {
            let (mut position, part) = (at, 1.0 / f64::from(sweeps));
            let mut unseen: BTreeSet<u64> = (0..blocks).collect();
            let mut touched = 0;
            for _ in 0..sweeps {
                let mut walk = Walk::new(blocks, position, part);
                while let Some(step) = walk.next() {
                    unseen.retain(|block| !step.contains(block));
                    touched += STEP_BLOCKS;
                    walk.found(&step, 0);
                }
                position = walk.position();
            }
            prop_assert!(unseen.is_empty(), "{} of {blocks} were not seen", unseen.len());
            let least = u64::from(sweeps) * LANES * STEP_BLOCKS;
            prop_assert!(touched <= blocks * 2 + least * 2, "{touched} of {blocks}");
        }

        #[test]
        fn what_is_old_everywhere_ends(blocks in 0u64..5_000) {
            let mut old: BTreeSet<u64> = (0..blocks).collect();
            let steps = sweep(blocks, &mut 0, 0.01, &mut old);
            prop_assert!(old.is_empty());
            prop_assert!(steps <= blocks / STEP_BLOCKS * 2 + LANES + 2);
        }
    }
}
