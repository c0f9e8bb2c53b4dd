//! The units of work that record what the provider answered, each guarded by the rows as they were read.

use serde_json::json;
use towpath_sdk::{Id, Money, Outcome, Problem, Relay, Rows, UnitOfWork};

use super::{
    look,
    schedule::{WHILE_PENDING, WHILE_SUCCEEDED, WHILE_WAITING},
};
use crate::{
    domain::{AMOUNT_MISMATCH, CANCELLED_AT_PROVIDER, Cancellation, REFUND_FAILED, Status},
    events,
    person::Person,
    provider::stripe::{Given, GivenState, Standing},
    store::{self, Row},
};

/// The label of every guard.
const MOVED_ON: &str = "moved_on";

/// What is recorded, and who has to hear of it then.
pub(super) struct Record {
    unit: UnitOfWork,
    person: Option<Person>,
}

impl Record {
    /// Of a unit of work that nobody has to hear of.
    pub(super) fn of(unit: UnitOfWork) -> Self {
        Self { unit, person: None }
    }

    /// A guard that isn't met is no failure, and neither is an event that was handled before: the next look tells. Whoever
    /// has to hear of it does once it is recorded.
    pub(super) async fn run(self, relay: &Relay) -> Result<(), Problem> {
        self.recorded(relay).await.map(drop)
    }

    /// The same, and reads the payment of this order as it is afterwards, in the same unit of work where that commits.
    pub(super) async fn then_look(mut self, relay: &Relay, order_id: Id) -> Result<Option<Row>, Problem> {
        self.unit = self.unit.step(store::SEEN, [order_id.into()]);
        match self.recorded(relay).await? {
            Some(results) => Ok(store::read_payment(results.last())?),
            None => look(relay, order_id).await,
        }
    }

    /// What the steps returned; `None` where nothing was recorded.
    async fn recorded(self, relay: &Relay) -> Result<Option<Vec<Rows>>, Problem> {
        match relay.run(self.unit).await {
            Err(error) if error.unmet() == Some(MOVED_ON) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(Outcome::Committed(results)) => {
                if let Some(person) = self.person {
                    person.tell();
                }
                Ok(Some(results))
            }
            Ok(Outcome::Duplicate | Outcome::Replayed(_)) => Ok(None),
        }
    }
}

/// Keeps the intent's id, before it is confirmed.
pub(super) fn created(payment: &Row, intent: &str) -> Record {
    Record::of(UnitOfWork::new().step(store::CREATED, [payment.id.into(), intent.into()]).expect(1, MOVED_ON))
}

/// Records that nothing can pay a declined payment any more.
pub(super) fn closed(payment: &Row) -> Record {
    Record::of(UnitOfWork::new().step(store::INTENT_CLOSED, [payment.id.into()]).expect(1, MOVED_ON))
}

/// Says again what a payment asks of its customer, where it still is as it was read: its order has asked. `None` where it asks
/// nothing.
pub(super) fn stands(order_id: Id, payment: &Row) -> Option<Record> {
    let status = payment.seen.payment?;
    let event = match status {
        Status::RequiresAction => events::action_required(order_id, payment.id),
        Status::Declined => events::declined(order_id, payment.id, payment.reason.as_deref().unwrap_or_default()),
        _ => return None,
    };
    let params = [payment.id.into(), status.as_str().into(), payment.attempt.into()];
    Some(Record::of(UnitOfWork::new().step(store::STANDS, params).expect(1, MOVED_ON).event(event)))
}

/// Records what became of the charge. `seen` is the intent that the row named when it was read.
pub(super) fn ended(
    unit: UnitOfWork,
    order_id: Id,
    payment: &Row,
    seen: Option<&str>,
    status: Status,
    standing: &Standing,
) -> Record {
    let cancelled = payment.seen.cancelled.map(Cancellation::as_str);
    let (reason, provider_code) = match standing {
        Standing::Unconfirmed | Standing::ActionRequired | Standing::Processing => (None, None),
        Standing::Captured => (cancelled, None),
        Standing::Cancelled => (Some(cancelled.unwrap_or(CANCELLED_AT_PROVIDER)), None),
        Standing::Declined(decline) => (Some(decline.reason.as_str()), decline.provider_code.as_deref()),
        Standing::Differs { what } => (Some(AMOUNT_MISMATCH), Some(what.as_str())),
    };
    let asks = matches!(status, Status::RequiresAction | Status::Processing);
    let params = [
        payment.id.into(),
        status.as_str().into(),
        json!(payment.reference),
        json!(reason),
        json!(provider_code),
        json!(cancelled),
        json!(seen),
        json!(payment.seen.payment.map(Status::as_str)),
        payment.attempt.into(),
        json!(WHILE_WAITING.seconds(0).filter(|_| asks)),
    ];
    let unit = unit.step(store::LOCK, [json!(order_id.to_string())]).step(store::CHARGED, params).expect(1, MOVED_ON);
    let unit = match status {
        Status::Captured => unit.event(events::captured(order_id, payment)),
        Status::RefundPending => unit
            .event(events::captured(order_id, payment))
            .step(store::OPEN_REFUND, [Id::new().into(), payment.id.into()])
            .expect(1, "refund"),
        Status::RequiresAction => unit.event(events::action_required(order_id, payment.id)),
        Status::Declined => unit.event(events::declined(order_id, payment.id, reason.unwrap_or_default())),
        Status::Pending | Status::Processing | Status::Cancelled | Status::Refunded | Status::NeedsAttention => unit,
    };
    let person = (status == Status::NeedsAttention)
        .then(|| person(order_id, payment.id, AMOUNT_MISMATCH, provider_code.unwrap_or_default()));
    Record { unit, person }
}

/// Records what became of the refund. The row alone decides: the event's inbox id may be used.
pub(super) fn given(order_id: Id, payment_id: Id, amount: Money, given: &Given) -> Record {
    let (id, reference) = (payment_id.into(), json!(given.reference));
    let unit = UnitOfWork::new();
    match &given.state {
        GivenState::Pending => Record::of(
            unit.step(store::REFUND_TAKEN, [id, reference, WHILE_PENDING.seconds(0).into()]).expect(1, MOVED_ON),
        ),
        GivenState::Succeeded => Record::of(
            unit.step(store::REFUNDED, [id, reference, WHILE_SUCCEEDED.seconds(0).into()])
                .expect(1, MOVED_ON)
                .event(events::refunded(order_id, payment_id, amount)),
        ),
        GivenState::Failed { code } => Record {
            unit: unit.step(store::REFUND_LOST, [id, reference, json!(code), REFUND_FAILED.into()]).expect(1, MOVED_ON),
            person: Some(person(order_id, payment_id, REFUND_FAILED, code)),
        },
    }
}

/// Records that the provider refuses the refund: there is none, and a person has to look at it.
pub(super) fn refused(order_id: Id, payment_id: Id, code: &str) -> Record {
    let params = [payment_id.into(), json!(null), json!(code), REFUND_FAILED.into()];
    Record {
        unit: UnitOfWork::new().step(store::REFUND_LOST, params).expect(1, MOVED_ON),
        person: Some(person(order_id, payment_id, REFUND_FAILED, code)),
    }
}

fn person(order_id: Id, payment_id: Id, reason: &str, cause: &str) -> Person {
    Person { order_id, payment_id, reason: reason.into(), cause: cause.into() }
}

#[cfg(test)]
impl Record {
    /// The unit of work, for tests.
    pub(super) fn into_request(self) -> towpath_sdk::wire::TransactionRequest {
        self.unit.into_request()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use towpath_sdk::{Money, wire::TransactionRequest};

    use super::*;
    use crate::{
        domain::Seen,
        provider::{
            Name,
            outcomes::{CODES, DECLINES, Decline, Means},
        },
    };

    fn payment(cancelled: Option<Cancellation>) -> Row {
        Row {
            id: Id::new(),
            amount: Money::new(300, "EUR".parse().expect("a currency")),
            payment_method: "pm_card_visa".into(),
            provider: Name::Sandbox,
            reference: Some("pi".into()),
            reason: None,
            attempt: 1,
            retries: 0,
            refund_attempt: 1,
            seen: Seen { payment: Some(Status::Pending), intent: true, closed: false, refund_taken: false, cancelled },
        }
    }

    fn unit(payment: &Row, standing: &Standing) -> TransactionRequest {
        let status = payment.seen.stands(standing).expect("an end");
        ended(UnitOfWork::new(), Id::new(), payment, Some("pi"), status, standing).into_request()
    }

    #[test]
    fn a_charge_is_recorded_with_its_event_under_what_was_seen() {
        let payment = payment(None);
        let captured = unit(&payment, &Standing::Captured);
        assert_eq!(captured.steps[0].sql, store::LOCK);
        let nothing = Value::Null;
        let expected =
            [json!(payment.id), json!("captured"), json!("pi"), nothing.clone(), nothing.clone(), nothing, json!("pi")];
        assert_eq!(captured.steps[1].params[..7], expected);
        assert_eq!(
            captured.steps[1].params[7..],
            [json!("pending"), json!(1), Value::Null],
            "what it was is the guard"
        );
        assert_eq!((captured.steps.len(), captured.events.len()), (2, 1));
        let decline = Decline { reason: "card_declined".into(), provider_code: Some("lost_card".into()) };
        let declined = unit(&payment, &Standing::Declined(decline));
        assert_eq!(
            declined.steps[1].params[1..5],
            [json!("declined"), json!("pi"), json!("card_declined"), json!("lost_card")]
        );
        assert_eq!(declined.events[0].data["reason"], "card_declined", "nobody is told that the card is reported lost");
    }

    #[test]
    fn a_charge_for_an_order_that_came_to_nothing_opens_its_refund() {
        let captured = unit(&payment(Some(Cancellation::Expired)), &Standing::Captured);
        let params = &captured.steps[1].params;
        assert_eq!(
            (&params[1], &params[3], &params[5]),
            (&json!("refund_pending"), &json!("order_expired"), &json!("order_expired"))
        );
        assert_eq!(
            (captured.steps[2].sql.as_str(), captured.events[0].kind.as_str()),
            (store::OPEN_REFUND, "payment.captured")
        );
    }

    #[test]
    fn a_payment_that_waits_is_asked_about_and_nobody_hears_its_secret() {
        let waits = unit(&payment(None), &Standing::ActionRequired);
        let params = &waits.steps[1].params;
        assert_eq!((&params[1], &params[3], &params[9]), (&json!("requires_action"), &Value::Null, &json!(10)));
        let [event] = waits.events.as_slice() else { panic!("one event") };
        assert_eq!(event.kind, "payment.action_required");
        assert_eq!(event.data.as_object().map(serde_json::Map::len), Some(2), "order and payment: {}", event.data);
        let works = unit(&payment(None), &Standing::Processing);
        assert_eq!((&works.steps[1].params[1], works.events.len()), (&json!("processing"), 0));
    }

    #[test]
    fn an_intent_that_is_cancelled_under_an_open_order_has_a_reason_of_its_own() {
        let lost = unit(&payment(None), &Standing::Cancelled);
        assert_eq!(lost.steps[1].params[1..4], [json!("declined"), json!("pi"), json!(CANCELLED_AT_PROVIDER)]);
        let others =
            DECLINES.iter().map(|(_, _, told)| *told).chain(CODES.iter().filter_map(|(_, means)| match means {
                Means::Declined(_, told) => Some(*told),
                _ => None,
            }));
        assert!(
            others.into_iter().all(|told| told != CANCELLED_AT_PROVIDER),
            "or its payment would be charged by two intents"
        );
    }

    #[test]
    fn an_order_that_asks_is_answered_also_where_nothing_has_changed() {
        let told = |status| {
            let mut payment = payment(None);
            payment.seen.payment = Some(status);
            payment.reason = (status == Status::Declined).then(|| "expired_card".into());
            stands(Id::new(), &payment).map(Record::into_request)
        };
        for (status, kind) in
            [(Status::RequiresAction, "payment.action_required"), (Status::Declined, "payment.declined")]
        {
            let told = told(status).expect("it asks its customer");
            assert_eq!((told.steps.len(), told.steps[0].sql.as_str()), (1, store::STANDS));
            assert_eq!(told.steps[0].params[1..], [json!(status.as_str()), json!(1)]);
            assert_eq!(told.steps[0].label.as_deref(), Some(MOVED_ON), "whoever changed it says so");
            let [event] = told.events.as_slice() else { panic!("one event") };
            assert_eq!(event.kind, kind);
        }
        assert_eq!(told(Status::Declined).expect("an answer").events[0].data["reason"], "expired_card");
        for status in Status::ALL {
            let asks = matches!(status, Status::RequiresAction | Status::Declined);
            assert_eq!(told(status).is_some(), asks, "{status}");
        }
    }

    #[test]
    fn a_payment_that_was_never_charged_ends_without_an_event() {
        let cancelled = unit(&payment(Some(Cancellation::Cancelled)), &Standing::Cancelled);
        assert_eq!(cancelled.steps[1].params[1..4], [json!("cancelled"), json!("pi"), json!("order_cancelled")]);
        assert!(cancelled.events.is_empty());
    }

    #[test]
    fn another_amount_than_was_asked_confirms_nobody() {
        let differs = Standing::Differs { what: "299 eur".into() };
        let (payment, order_id) = (payment(None), Id::new());
        let record = ended(UnitOfWork::new(), order_id, &payment, Some("pi"), Status::NeedsAttention, &differs);
        assert_eq!(record.person, Some(person(order_id, payment.id, "amount_mismatch", "299 eur")));
        let differs = record.into_request();
        assert_eq!(
            differs.steps[1].params[1..5],
            [json!("needs_attention"), json!("pi"), json!("amount_mismatch"), json!("299 eur")]
        );
        assert!(differs.events.is_empty());
    }

    #[test]
    fn only_a_refund_that_succeeded_is_told() {
        let payment = payment(Some(Cancellation::Expired));
        let unit = |state| {
            given(Id::new(), payment.id, payment.amount, &Given { reference: "re".into(), state }).into_request()
        };
        let pending = unit(GivenState::Pending);
        assert_eq!((pending.steps[0].sql.as_str(), pending.events.len()), (store::REFUND_TAKEN, 0));
        let succeeded = unit(GivenState::Succeeded);
        assert_eq!((succeeded.steps[0].sql.as_str(), succeeded.events.len()), (store::REFUNDED, 1));
        let refused = refused(Id::new(), payment.id, "charge_disputed");
        assert_eq!(refused.person.as_ref().map(|person| person.cause.as_str()), Some("charge_disputed"));
        let refused = refused.into_request();
        assert_eq!((refused.steps[0].sql.as_str(), &refused.steps[0].params[1]), (store::REFUND_LOST, &Value::Null));
        assert!(refused.events.is_empty(), "nothing went back");
        let failed = unit(GivenState::Failed { code: "lost_or_stolen_card".into() });
        assert_eq!((failed.steps[0].sql.as_str(), failed.events.len()), (store::REFUND_LOST, 0));
    }
}
