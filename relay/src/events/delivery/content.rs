//! What a fetched record is for the relay: an event to deliver, the place of one, or something that becomes a dead letter.
//!
//! Strangers may write to a topic too, so anything may stand there; whatever it is, it is one of these, and none of them can
//! hold its lane for ever.

use std::sync::Arc;

use super::routes::Routes;
use crate::component::encoded_bytes;
use crate::events::cloudevents::{self, Event};
use crate::events::dead_letters::{Cause, Form, Origin, Reason, headers};
use crate::kafka::{Record, Taken};

/// What an event's attributes and its key may take in the head of a delivery. Web servers take a few tens of KiB; many break
/// the connection beyond that, which looks like a component that is down.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// What a record is.
#[derive(Debug)]
pub(super) enum Content {
    /// An event for this route. With its record's place, where that is another one than where the event was fetched.
    Event { event: Box<Event>, route: Arc<str>, origin: Option<Origin> },
    /// A replayed letter that refers to its record.
    Reference(Origin),
    /// It can't be delivered, and becomes a dead letter.
    Unfit { cause: Cause, form: Form },
    /// An event that no subscription wants.
    Unwanted,
}

/// Says what a record is.
pub(super) fn of(taken: Taken, routes: &Routes, most: usize) -> (Record, Content) {
    let unfit = |reason, detail: String, form| {
        let cause = Cause { reason, detail, status: None, attempts: 0 };
        Content::Unfit { cause, form }
    };
    let record = match taken {
        Taken::Whole(record) => record,
        Taken::TooLarge { outline, bytes } => {
            let detail = format!("the record has {bytes} bytes (limits.delivery_bytes = {most})");
            let form = Form::Reference { origin: Origin::of(&outline), bytes };
            return (outline, unfit(Reason::TooLarge, detail, form));
        }
    };
    if let Some(origin) = reference(&record, routes) {
        return (record, Content::Reference(origin));
    }
    let event = match cloudevents::kafka::read(&record.headers, record.value.clone()) {
        Ok(event) => event,
        Err(malformed) => {
            let content = unfit(Reason::Malformed, malformed.to_string(), Form::Whole);
            return (record, content);
        }
    };
    let Some(route) = routes.route(&record.topic, &event.kind) else { return (record, Content::Unwanted) };
    let head = event.head_bytes() + record.key.as_deref().map_or(0, encoded_bytes);
    if head > MAX_HEAD_BYTES {
        let detail =
            format!("its attributes and its key take {head} bytes in a request's head; at most {MAX_HEAD_BYTES}");
        return (record, unfit(Reason::TooLarge, detail, Form::Whole));
    }
    (record, Content::Event { event: Box::new(event), route, origin: None })
}

/// Where the event stands, if the record is a replayed letter that refers to it. What others write elsewhere refers to nothing,
/// and no letter refers to topics that the service doesn't hear.
fn reference(record: &Record, routes: &Routes) -> Option<Origin> {
    let base = routes.base(&record.topic);
    if *base == *record.topic {
        return None;
    }
    let origin: Origin = record.header(headers::RECORD)?.parse().ok()?;
    (origin.topic == *base || origin.topic == record.topic).then_some(origin)
}
