//! Carries decisions out: as one unit of work each, guarded by what the order's row must still say.
//!
//! If the guard isn't met, another unit of work changed the row first. Then the handler reads the row and decides again,
//! so that of two handlers at once the row decides, and not which of them read first.

use serde_json::{Value, json};
use towpath_sdk::{Currency, Delivery, Id, Money, Problem, Query, Relay, RelayError, Time, UnitOfWork, relay::Row};

use crate::{
    domain::{Asks, Decision, Heard, OnDecline, Said, Seen, Status},
    events, store,
};

/// The most tries to carry out a decision, before the caller gets 503. An order takes five steps in its life.
const MAX_TRIES: usize = 8;

/// The label of the step's guard.
pub(crate) const MOVED_ON: &str = "moved_on";

/// The wake-up key of requests that wait for an order's outcome.
pub(crate) fn outcome_key(id: Id) -> String {
    format!("order:{id}")
}

/// An entry of an order's history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    kind: String,
    event_id: String,
    detail: Value,
    status: Option<Status>,
}

impl Entry {
    /// The entry for an event that order received.
    pub(crate) fn of(kind: &str, event_id: &str, detail: Value) -> Self {
        Self { kind: kind.into(), event_id: event_id.into(), detail, status: None }
    }

    fn to_json(&self) -> Value {
        let status = self.status.map(Status::as_str);
        json!({"type": self.kind, "event_id": self.event_id, "detail": self.detail, "status": status})
    }
}

/// Reads the columns that decisions depend on.
pub(crate) async fn look(relay: &Relay, id: Id) -> Result<Option<Seen>, RelayError> {
    relay.query(Query::new(store::SEEN, [id.into()])).await?.first().map(seen).transpose()
}

/// The same, from a row.
pub(crate) fn seen(row: Row<'_>) -> Result<Seen, RelayError> {
    let status = row.get::<String>("status")?;
    let status = Status::parse(&status).ok_or_else(|| RelayError::Malformed(format!("the status {status}")))?;
    let malformed = |what: &str, text: &str| RelayError::Malformed(format!("the {what} {text}"));
    let on_decline = row.get::<String>("on_decline")?;
    let asks = row.get::<Option<String>>("payment_state")?;
    let asks = asks.map(|text| Asks::parse(&text).ok_or_else(|| malformed("payment state", &text)));
    Ok(Seen {
        status,
        total: Money::new(row.get("total")?, row.get::<Currency>("currency")?),
        on_decline: OnDecline::parse(&on_decline).ok_or_else(|| malformed("policy", &on_decline))?,
        asks: asks.transpose()?,
    })
}

/// Decides about an event, first for the status that the order most likely has.
pub(crate) async fn hear(
    relay: &Relay,
    delivery: &Delivery,
    id: Id,
    heard: &Heard,
    mut guess: Option<Seen>,
    entry: Entry,
) -> Result<(), Problem> {
    for _ in 0..MAX_TRIES {
        let seen = match guess.take() {
            Some(seen) => seen,
            None => look(relay, id).await?.ok_or_else(unknown)?,
        };
        let decision = seen.hear(heard);
        match relay.run(carry_out(delivery.unit(), id, &seen, &decision, Some(entry.clone()), None)).await {
            Err(error) if error.unmet() == Some(MOVED_ON) => {}
            other => return Ok(other.map(drop)?),
        }
    }
    Err(contention())
}

/// Publishes a step of an order, if its row still is as it was seen; returns whether it was.
///
/// # Errors
/// As [`Relay::run`]. An unknown outcome counts as "no": the next read of the row shows it.
pub(crate) async fn say(relay: &Relay, id: Id, seen: &Seen, said: Said) -> Result<bool, RelayError> {
    let decision = Decision::Say { said, payment_id: None };
    match relay.run(carry_out(UnitOfWork::new(), id, seen, &decision, None, None)).await {
        Ok(_) => Ok(true),
        Err(error) if is_to_see_again(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same for a client that is told of it as of this time.
pub(crate) fn saying(unit: UnitOfWork, id: Id, seen: &Seen, said: Said, at: Time) -> UnitOfWork {
    carry_out(unit, id, seen, &Decision::Say { said, payment_id: None }, None, Some(at))
}

/// Whether the order's row tells what became of the step: it moved on first, or the answer was lost.
pub(crate) fn is_to_see_again(error: &RelayError) -> bool {
    error.unmet() == Some(MOVED_ON) || error.is_outcome_unknown()
}

/// The unit of work that carries a decision out.
pub(crate) fn carry_out(
    unit: UnitOfWork,
    id: Id,
    seen: &Seen,
    decision: &Decision,
    heard: Option<Entry>,
    at: Option<Time>,
) -> UnitOfWork {
    let mut entries: Vec<_> = heard.into_iter().collect();
    let (mut reason, mut event) = (None, None);
    let payment_id = match decision {
        Decision::Reserve => {
            // The event that was received is itself the step.
            entries.iter_mut().for_each(|entry| entry.status = Some(Status::Reserved));
            None
        }
        Decision::Note { payment_id } => *payment_id,
        Decision::Await { payment_id, .. } => Some(*payment_id),
        Decision::Resume { payment_method } => {
            let event_id = Id::new();
            let spoken = events::payment_requested(id, event_id, payment_method.as_deref());
            let detail = without_nulls(json!({"payment_method": payment_method}));
            entries.push(Entry::of(&spoken.kind, &event_id.to_string(), detail));
            event = Some(spoken);
            None
        }
        Decision::Say { said, payment_id } => {
            let event_id = Id::new();
            let spoken = events::said(id, event_id, said);
            reason = said.reason();
            let detail = json!({"reason": reason, "payment_id": payment_id});
            let mut entry = Entry::of(&spoken.kind, &event_id.to_string(), without_nulls(detail));
            entry.status = Some(said.status());
            entries.push(entry);
            event = Some(spoken);
            *payment_id
        }
    };
    let status = decision.status().unwrap_or(seen.status).as_str();
    let count = entries.len() as u64;
    let entries: Value = entries.iter().map(Entry::to_json).collect();
    let params = [
        id.into(),
        status.into(),
        json!(reason),
        json!(payment_id),
        seen.status.as_str().into(),
        seen.total.amount.into(),
        seen.total.currency.into(),
        entries,
        json!(decision.asks(seen.asks).map(Asks::as_str)),
        json!(seen.asks.map(Asks::as_str)),
        match decision {
            Decision::Resume { payment_method } => json!(payment_method),
            _ => Value::Null,
        },
        json!(at),
    ];
    let unit = unit.step(store::STEP, params).expect(count, MOVED_ON);
    let unit = match event {
        Some(event) => unit.event(event),
        None => unit,
    };
    match decision {
        // Whoever waits for the outcome waits for this too.
        Decision::Say { .. } | Decision::Await { .. } => unit.notify(outcome_key(id)),
        _ => unit,
    }
}

fn without_nulls(mut detail: Value) -> Value {
    if let Some(object) = detail.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    detail
}

/// 404: there is no such order.
pub(crate) fn unknown() -> Problem {
    Problem::not_found("unknown_order", "There is no order with this id.")
}

/// 503: other units of work changed the order before every try.
pub(crate) fn contention() -> Problem {
    Problem::unavailable(
        "contention",
        "Other requests or events changed this order at the same time. Try again.",
        "other units of work changed the order before every try",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let total = Money::new(300, "EUR".parse().expect("a currency"));
        Seen { status: Status::Reserved, total, on_decline: OnDecline::Wait, asks: None }
    }

    #[test]
    fn an_outcome_is_a_guarded_step_with_its_event_and_wakes_who_waits() {
        let (id, payment_id) = (Id::new(), Id::new());
        let heard = Heard::PaymentCaptured { payment_id, amount: seen().total };
        let entry = Entry::of("payment.captured", "e", json!({}));
        let unit = carry_out(UnitOfWork::new(), id, &seen(), &seen().hear(&heard), Some(entry), None).into_request();
        let [step] = unit.steps.as_slice() else { panic!("one step") };
        assert_eq!(step.label.as_deref(), Some(MOVED_ON));
        assert_eq!(serde_json::to_value(step.expect).expect("JSON"), json!({"exactly": 2}));
        assert_eq!(
            step.params[..7],
            [
                json!(id),
                json!("confirmed"),
                Value::Null,
                json!(payment_id),
                json!("reserved"),
                json!(300),
                json!("EUR")
            ]
        );
        let [event] = unit.events.as_slice() else { panic!("one event") };
        assert_eq!((event.kind.as_str(), &event.key), ("order.confirmed", &id.to_string()));
        assert_eq!(event.data, json!({"order_id": id, "payment_id": payment_id}));
        assert_eq!(
            step.params[7],
            json!([
                {"type": "payment.captured", "event_id": "e", "detail": {}, "status": null},
                {"type": "order.confirmed", "event_id": event.id, "detail": {"payment_id": payment_id}, "status": "confirmed"},
            ])
        );
        assert_eq!(unit.notify, [outcome_key(id)]);
    }

    #[test]
    fn an_order_that_waits_for_its_customer_wakes_who_waits_and_keeps_its_status() {
        let (id, payment_id) = (Id::new(), Id::new());
        let heard = Heard::PaymentDeclined { payment_id, reason: "expired_card".into(), payable: true };
        let entry = Entry::of("payment.declined", "e", json!({}));
        let unit = carry_out(UnitOfWork::new(), id, &seen(), &seen().hear(&heard), Some(entry), None).into_request();
        let params = &unit.steps[0].params;
        assert_eq!(
            (&params[1], &params[8], &params[9]),
            (&json!("reserved"), &json!("requires_payment_method"), &Value::Null)
        );
        assert!(unit.events.is_empty());
        assert_eq!(unit.notify, [outcome_key(id)]);
    }

    #[test]
    fn a_customer_who_goes_on_is_asked_for_nothing_and_payment_hears_of_it() {
        let (id, seen) = (Id::new(), Seen { asks: Some(Asks::Action), ..seen() });
        let look = carry_out(UnitOfWork::new(), id, &seen, &Decision::Resume { payment_method: None }, None, None);
        assert_eq!(look.into_request().steps[0].params[8], Value::Null, "whoever waits waits for what the look finds");
        let decision = Decision::Resume { payment_method: Some("pm_2".into()) };
        let unit = carry_out(UnitOfWork::new(), id, &seen, &decision, None, None).into_request();
        let params = &unit.steps[0].params;
        assert_eq!(params[8..], [Value::Null, json!("requires_action"), json!("pm_2"), Value::Null]);
        assert_eq!(unit.events[0].kind, "order.payment_requested");
        assert_eq!(unit.events[0].data, json!({"order_id": id, "payment_method": "pm_2"}));
    }

    #[test]
    fn a_note_keeps_the_status_and_says_nothing() {
        let entry = Entry::of("stock.released", "e", json!({}));
        let decision = Decision::Note { payment_id: None };
        let unit = carry_out(UnitOfWork::new(), Id::new(), &seen(), &decision, Some(entry), None).into_request();
        assert_eq!(unit.steps[0].params[1], unit.steps[0].params[4]);
        assert!(unit.events.is_empty() && unit.notify.is_empty());
    }
}
