//! A unit of work, with what stays the same in every attempt.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use towpath_wire::{Isolation, TransactionRequestOf};
use uuid::Uuid;

use crate::failure::{Failure, Result};
use crate::postgres::Transaction;
use crate::postgres::codec::TextParameter;
use crate::service::Service;
use crate::telemetry::TraceContext;

/// A unit of work that passed its checks.
pub(super) struct Unit {
    pub(super) request: TransactionRequestOf<Box<RawValue>>,
    /// The ids of the events, in order.
    pub(super) event_ids: Vec<String>,
    /// Their data as JSON, in order.
    pub(super) event_data: Vec<String>,
    /// The answer of the idempotency key as JSON.
    pub(super) answer: Option<String>,
    pub(super) source: String,
    pub(super) now: String,
    pub(super) trace: TraceContext,
}

impl Unit {
    pub(super) fn new(
        service: &Service,
        request: TransactionRequestOf<Box<RawValue>>,
        trace: &TraceContext,
    ) -> Result<Self> {
        let new_id = || Uuid::now_v7().hyphenated().to_string();
        let event_ids = request.events.iter().map(|event| event.id.clone().unwrap_or_else(new_id)).collect();
        let mut event_data = Vec::with_capacity(request.events.len());
        for (index, event) in request.events.iter().enumerate() {
            let text = event.data.get();
            let most = service.limits().event_bytes;
            if text.len() > most {
                let detail = format_args!("The data of events[{index}] has {} bytes", text.len());
                return Err(Failure::limit("event_bytes", most, detail));
            }
            event_data.push(text.to_owned());
        }
        Ok(Self {
            answer: request.idempotency.as_ref().map(|idempotency| idempotency.answer.get().to_owned()),
            event_ids,
            event_data,
            source: format!("/{}", service.name),
            now: Timestamp::now().to_string(),
            trace: trace.clone(),
            request,
        })
    }

    /// What begins its transaction. Nothing else makes the session able to write. `lock_wait`: for how long a statement waits
    /// for a lock, where that isn't the session's own setting.
    pub(super) fn begin(&self, lock_wait: Option<Duration>) -> Cow<'static, str> {
        let begin = match self.request.isolation {
            Isolation::ReadCommitted => "BEGIN READ WRITE",
            Isolation::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
            Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
        };
        match lock_wait {
            None => begin.into(),
            // Zero would mean for ever.
            Some(wait) => format!("{begin}; SET LOCAL lock_timeout = {}", wait.as_millis().max(1)).into(),
        }
    }

    /// The rows by which its transaction can be recognised later.
    pub(super) fn traces(&self) -> Transaction<'_> {
        Transaction {
            inbox: self.request.inbox.as_deref(),
            key: self.request.idempotency.as_ref().map(|idempotency| idempotency.key.as_str()),
            events: &self.event_ids,
            ..Transaction::default()
        }
    }

    /// Its events as columns of the outbox.
    pub(super) fn outbox(&self) -> Option<OutboxColumns<'_>> {
        let events = &self.request.events;
        if events.is_empty() {
            return None;
        }
        Some(OutboxColumns {
            topics: events.iter().map(|event| event.topic.as_str()).collect(),
            keys: events.iter().map(|event| event.key.as_str()).collect(),
            types: events.iter().map(|event| event.kind.as_str()).collect(),
            subjects: events.iter().map(|event| event.subject.as_deref()).collect(),
            ids: &self.event_ids,
            data: &self.event_data,
            source: &self.source,
            now: TextParameter::text(&self.now),
            traceparent: &self.trace.traceparent,
            tracestate: self.trace.tracestate.as_deref(),
        })
    }
}

/// The parameters of `towpath.outbox_append`.
pub(super) struct OutboxColumns<'a> {
    pub(super) topics: Vec<&'a str>,
    pub(super) keys: Vec<&'a str>,
    pub(super) types: Vec<&'a str>,
    pub(super) subjects: Vec<Option<&'a str>>,
    pub(super) ids: &'a [String],
    pub(super) data: &'a [String],
    pub(super) source: &'a str,
    pub(super) now: TextParameter<'a>,
    pub(super) traceparent: &'a str,
    pub(super) tracestate: Option<&'a str>,
}
