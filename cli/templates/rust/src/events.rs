//! What is published, and what is read of the events that are heard.

use serde::{Deserialize, Serialize};
use towpath_sdk::{Id, relay::event, wire::Event};

use crate::domain::Note;

const TOPIC: &str = "%NAME%.events";
/// A note was written.
pub(crate) const WRITTEN: &str = "note.written";

/// The data of [`WRITTEN`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) id: Id,
    pub(crate) text: String,
}

/// The event of this note. The relay delivers events of one key in order.
pub(crate) fn written(note: &Note) -> Event {
    event(TOPIC, note.id.to_string(), WRITTEN, &Written { id: note.id, text: note.text.clone() })
}
