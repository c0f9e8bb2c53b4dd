//! Call depth: how many components stand between the client and a request of an instance. Components that call each
//! other in a circle stop at `--max-call-depth`.

use wasmtime::component::GuestTaskId;

/// The requests of an instance and the depth of each. wasmtime reuses an id once its task is over, so there are never
/// more entries than tasks that lived at a time.
#[derive(Debug, Default)]
pub(super) struct Depths(Vec<(GuestTaskId, u8)>);

impl Depths {
    /// A request begins.
    pub(super) fn begin(&mut self, task: GuestTaskId, depth: u8) {
        match self.0.iter_mut().find(|(id, _)| *id == task) {
            Some(entry) => entry.1 = depth,
            None => self.0.push((task, depth)),
        }
    }

    /// The depth of the request that the tasks of a call stack belong to. An unknown task counts as the deepest request
    /// of the instance: a limit that is too tight fails visibly, one that is too wide limits nothing.
    pub(super) fn of(&self, mut stack: impl Iterator<Item = GuestTaskId>) -> u8 {
        let known = stack.find_map(|task| self.0.iter().find(|(id, _)| *id == task));
        known.map(|(_, depth)| *depth).or_else(|| self.0.iter().map(|(_, depth)| *depth).max()).unwrap_or_default()
    }
}
