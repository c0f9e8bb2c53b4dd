//! What the parts and the supervisor tell the recorder.
use tokio::sync::{mpsc, oneshot};
use towpath_stack::state::Phase;

/// Something happened.
pub(crate) enum Event {
    /// A part's status changed.
    Changed,
    /// A message for a person.
    Said(String),
    /// The phase of the whole stack changed.
    Phase(Phase),
    /// The sender waits until all earlier events are in the state file and on the screen.
    Recorded(oneshot::Sender<()>),
}

/// Waits until all events so far are in the state file and on the screen, so that a client that gets an answer finds them there.
pub(super) async fn recorded(events: &mpsc::UnboundedSender<Event>) {
    let (answer, written) = oneshot::channel();
    if events.send(Event::Recorded(answer)).is_ok() {
        let _ = written.await;
    }
}
