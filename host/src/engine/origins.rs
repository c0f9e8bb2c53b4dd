//! Where the calls of an instance come from: for which request it makes a call. Components that call each other in a circle
//! stop at `--max-call-depth`, and the calls for a client that left end.

use wasmtime::component::GuestTaskId;

use crate::outbound::Origin;

/// The requests of an instance and the origin of each. wasmtime reuses an id once its task is over, so there are never
/// more entries than tasks that lived at a time.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<(GuestTaskId, Origin)>);

impl Origins {
    /// A request begins.
    pub(super) fn begin(&mut self, task: GuestTaskId, origin: Origin) {
        match self.0.iter_mut().find(|(id, _)| *id == task) {
            Some(entry) => entry.1 = origin,
            None => self.0.push((task, origin)),
        }
    }

    /// The origin of the request that the tasks of a call stack belong to. An unknown task counts as the deepest request
    /// of the instance: a limit that is too tight fails visibly, one that is too wide limits nothing. Its calls never end
    /// for a client.
    pub(super) fn of(&self, mut stack: impl Iterator<Item = GuestTaskId>) -> Origin {
        let known = stack.find_map(|task| self.0.iter().find(|(id, _)| *id == task));
        known.map(|(_, origin)| origin.clone()).unwrap_or_else(|| {
            let depth = self.0.iter().map(|(_, origin)| origin.depth).max().unwrap_or_default();
            Origin { depth, ..Origin::default() }
        })
    }
}
