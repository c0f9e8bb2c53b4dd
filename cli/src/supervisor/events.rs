//! What the parts and the supervisor tell the recorder.
use tokio::sync::{mpsc, oneshot};
use towpath_stack::state::Phase;

/// Something happened.
pub(crate) enum Event {
    /// A part's status is another one.
    Changed,
    /// Something that a person should read.
    Said(String),
    /// The stack as a whole is somewhere else.
    Phase(Phase),
    /// Somebody waits until all that happened before is written down and shown.
    Recorded(oneshot::Sender<()>),
}

/// Waits until all that happened so far is in the state file and on the screen: who is told of something finds it there.
pub(super) async fn recorded(events: &mpsc::UnboundedSender<Event>) {
    let (answer, written) = oneshot::channel();
    if events.send(Event::Recorded(answer)).is_ok() {
        let _ = written.await;
    }
}
