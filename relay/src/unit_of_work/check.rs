//! Checks a unit of work before anything runs.

use towpath_wire::{Code, EventOf, StepOf, StepRef, TransactionRequestOf};

use crate::config::Limits;
use crate::failure::{Failure, Result, at_most};
use crate::keys::{check_id, check_key};
use crate::postgres::statement;
use crate::service::Service;

pub(super) fn request<V>(service: &Service, request: &TransactionRequestOf<V>) -> Result<()> {
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
        check_id("inbox", id)?;
    }
    if let Some(idempotency) = &request.idempotency {
        check_id("idempotency.key", &idempotency.key)?;
        check_id("idempotency.request_hash", &idempotency.request_hash)?;
    }
    request.invalidate.iter().try_for_each(|tag| check_key(limits, "A tag", tag))?;
    request.notify.iter().try_for_each(|key| check_key(limits, "A wake-up key", key))
}

/// Names the step in a failure.
pub(super) fn at_step<V>(mut failure: Failure, index: usize, step: &StepOf<V>) -> Failure {
    failure.problem.step = Some(StepRef { index, label: step.label.clone(), affected: None });
    failure
}

fn step<V>(limits: &Limits, step: &StepOf<V>) -> Result<()> {
    statement::check_size(limits, &step.sql, step.params.len())?;
    Ok(statement::check(&step.sql).map(drop)?)
}

fn event<V>(service: &Service, index: usize, event: &EventOf<V>) -> Result<()> {
    if !service.may_publish(&event.topic) {
        let detail = format!("events[{index}]: {} may not publish to the topic {:?}", service.name, event.topic);
        return Err(Failure::new(Code::Forbidden, detail));
    }
    check_id(&format!("events[{index}].key"), &event.key)?;
    check_id(&format!("events[{index}].type"), &event.kind)?;
    for (name, text) in [("id", &event.id), ("subject", &event.subject)] {
        if let Some(text) = text {
            check_id(&format!("events[{index}].{name}"), text)?;
        }
    }
    Ok(())
}
