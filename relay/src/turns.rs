//! Turns: how often a loop came round. Who looks from outside sees by them that it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a part did what it is there for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Once more.
    pub(crate) fn turn(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
