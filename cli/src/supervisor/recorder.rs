//! Writes down and shows what happens: the state file and the screen follow every change of every part.
use tokio::sync::{mpsc, oneshot};
use towpath_stack::home::Home;
use towpath_stack::state::{PartRecord, State};

use super::events::Event;
use super::part::Handle;
use crate::screen::{Row, Screen};

pub(super) struct Recorder {
    pub(super) home: Home,
    pub(super) state: State,
    pub(super) parts: Vec<Handle>,
    pub(super) screen: Screen,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
}

impl Recorder {
    /// Until it is aborted: the parts that it looks at could say something for as long as it holds them.
    pub(super) async fn follow(mut self) {
        self.record();
        while let Some(event) = self.events.recv().await {
            let answer = self.take(event);
            // Whatever has queued up meanwhile goes into the same writing.
            let mut answers: Vec<_> = answer.into_iter().collect();
            while let Ok(event) = self.events.try_recv() {
                answers.extend(self.take(event));
            }
            self.record();
            for answer in answers {
                let _ = answer.send(());
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<oneshot::Sender<()>> {
        match event {
            Event::Changed => None,
            Event::Said(text) => {
                self.screen.say(&text);
                None
            }
            Event::Phase(phase) => {
                self.state.phase = phase;
                None
            }
            Event::Recorded(answer) => Some(answer),
        }
    }

    fn record(&mut self) {
        self.state.parts = self.parts.iter().map(record_of).collect();
        if let Err(error) = self.state.save(&self.home) {
            self.screen.say(&format!("{error:#}"));
        }
        let rows: Vec<Row> = self.parts.iter().map(row_of).collect();
        self.screen.show(self.state.phase, &rows);
    }
}

fn record_of(part: &Handle) -> PartRecord {
    let status = part.status.borrow();
    PartRecord {
        name: part.spec.name.clone(),
        state: status.state,
        process: status.process.clone(),
        address: part.spec.address.clone(),
        stop_signal: part.spec.stop_signal,
        note: status.note.clone(),
    }
}

fn row_of(part: &Handle) -> Row {
    let status = part.status.borrow();
    Row {
        name: part.spec.name.clone(),
        state: status.state,
        address: part.spec.address.clone(),
        pid: status.process.as_ref().map(|process| process.pid),
        note: status.note.clone(),
    }
}
