//! Panics and hangs at a chosen place inside a relay of this process, without a hook in its code: the relay writes a log line or
//! opens a span there, and whoever writes logs may panic, or not return. Each trap springs once.
//!
//! A relay is told by its service, so a test that sets a trap has a service whose name no other test uses.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

static TRAPS: Mutex<Vec<Trap>> = Mutex::new(Vec::new());

struct Trap {
    at: &'static str,
    service: String,
    act: Act,
}

enum Act {
    Panic,
    Hang(Arc<Gate>),
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

/// A thread that hangs, until this is dropped.
pub(crate) struct Hang(Arc<Gate>);

impl Drop for Hang {
    fn drop(&mut self) {
        *held(&self.0.open) = true;
        self.0.opened.notify_all();
    }
}

/// Whoever next writes this message, or opens a span of this name, for the service panics.
pub(crate) fn panic_at(at: &'static str, service: &str) {
    held(&TRAPS).push(Trap { at, service: service.into(), act: Act::Panic });
}

/// Whoever next writes this message, or opens a span of this name, for the service doesn't return.
pub(crate) fn hang_at(at: &'static str, service: &str) -> Hang {
    let gate = Arc::new(Gate::default());
    held(&TRAPS).push(Trap { at, service: service.into(), act: Act::Hang(Arc::clone(&gate)) });
    Hang(gate)
}

/// Whether a trap of this service has not sprung yet.
pub(crate) fn is_set(service: &str) -> bool {
    held(&TRAPS).iter().any(|trap| trap.service == service)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Springs the traps.
pub(crate) struct Springs;

impl<S: Subscriber> Layer<S> for Springs {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut seen = Seen::default();
        attributes.record(&mut seen);
        spring(attributes.metadata().name(), &seen.service);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        spring(&seen.message, &seen.service);
    }
}

#[derive(Default)]
struct Seen {
    message: String,
    service: String,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "service" {
            self.service = value.into();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

fn spring(at: &str, service: &str) {
    let sprung = {
        let mut traps = held(&TRAPS);
        let found = traps.iter().position(|trap| trap.at == at && trap.service == service);
        found.map(|found| traps.remove(found).act)
    };
    match sprung {
        None => {}
        Some(Act::Panic) => panic!("the test has it panic"),
        Some(Act::Hang(gate)) => {
            let open = held(&gate.open);
            drop(gate.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
        }
    }
}
