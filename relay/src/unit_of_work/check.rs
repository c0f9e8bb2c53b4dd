//! What is wrong with a unit of work before anything runs.

use towpath_wire::{Code, Event, Step, StepRef, TransactionRequest};

use crate::cache::check_key;
use crate::config::Limits;
use crate::error::{Failure, Result};
use crate::state::Service;
use crate::statement;

/// The longest event id, idempotency key, request hash and event key, in bytes.
const LONGEST_KEY: usize = 255;

pub(super) fn request(service: &Service, request: &TransactionRequest) -> Result<()> {
    let limits = service.limits();
    at_most("steps", limits.steps, request.steps.len())?;
    at_most("events", limits.events, request.events.len())?;
    at_most("cache_tags", limits.cache_tags, request.invalidate.len())?;
    at_most("wakeup_keys", limits.wakeup_keys, request.notify.len())?;
    for (index, step) in request.steps.iter().enumerate() {
        self::step(limits, step).map_err(|failure| at_step(failure, index, step))?;
    }
    request.events.iter().enumerate().try_for_each(|(index, event)| self::event(service, index, event))?;
    if let Some(id) = &request.inbox {
        key("inbox", id)?;
    }
    if let Some(idempotency) = &request.idempotency {
        key("idempotency.key", &idempotency.key)?;
        key("idempotency.request_hash", &idempotency.request_hash)?;
    }
    request.invalidate.iter().try_for_each(|tag| check_key(service, "A tag", tag))?;
    request.notify.iter().try_for_each(|key| check_key(service, "A wake-up key", key))
}

/// Refuses more than a limit allows.
pub(super) fn at_most(name: &'static str, limit: usize, count: usize) -> Result<()> {
    if count > limit {
        return Err(Failure::limit(name, limit, format_args!("The request has {count} {}", name.replace('_', " "))));
    }
    Ok(())
}

/// Names the step in a failure.
pub(super) fn at_step(mut failure: Failure, index: usize, step: &Step) -> Failure {
    failure.problem.step = Some(StepRef { index, label: step.label.clone(), affected: None });
    failure
}

fn step(limits: &Limits, step: &Step) -> Result<()> {
    statement_size(limits, &step.sql, step.params.len())?;
    statement::check(&step.sql).map(drop).map_err(refused)
}

/// Refuses a statement that is too long or has too many parameters.
pub(crate) fn statement_size(limits: &Limits, sql: &str, parameters: usize) -> Result<()> {
    if sql.len() > limits.statement_bytes {
        let detail = format_args!("The statement has {} bytes", sql.len());
        return Err(Failure::limit("statement_bytes", limits.statement_bytes, detail));
    }
    at_most("parameters", limits.parameters, parameters)
}

/// A statement that isn't allowed.
pub(crate) fn refused(refused: statement::Refused) -> Failure {
    Failure::new(Code::StatementRefused, refused.to_string())
}

fn key(what: &str, text: &str) -> Result<()> {
    if !(1..=LONGEST_KEY).contains(&text.len()) {
        let bytes = text.len();
        return Err(Failure::malformed(format!("{what} must have 1 to {LONGEST_KEY} bytes, and has {bytes}")));
    }
    no_nul(what, text)
}

fn no_nul(what: &str, text: &str) -> Result<()> {
    if text.contains('\0') { Err(Failure::malformed(format!("{what} holds U+0000"))) } else { Ok(()) }
}

fn event(service: &Service, index: usize, event: &Event) -> Result<()> {
    if !service.may_publish(&event.topic) {
        let detail = format!("events[{index}]: {} may not publish to the topic {:?}", service.name, event.topic);
        return Err(Failure::new(Code::Forbidden, detail));
    }
    key(&format!("events[{index}].key"), &event.key)?;
    key(&format!("events[{index}].type"), &event.kind)?;
    for (name, text) in [("id", &event.id), ("subject", &event.subject)] {
        if let Some(text) = text {
            key(&format!("events[{index}].{name}"), text)?;
        }
    }
    Ok(())
}
