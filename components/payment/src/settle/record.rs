//! The units of work that record what the provider answered, each guarded by the rows as they were read.

use serde_json::json;
use towpath_sdk::{Id, Money, Outcome, Problem, RelayError, UnitOfWork};

use super::schedule::{WHILE_PENDING, WHILE_SUCCEEDED};
use crate::{
    domain::{AMOUNT_MISMATCH, CANCELLED_AT_PROVIDER, Cancellation, REFUND_FAILED, Status},
    events,
    provider::stripe::{Given, GivenState, Standing},
    store::{self, Row},
};

/// The label of every guard.
const MOVED_ON: &str = "moved_on";

/// A guard that isn't met is no failure, and neither is an event that was handled before: the next look tells.
pub(super) fn record(ran: Result<Outcome, RelayError>) -> Result<(), Problem> {
    match ran {
        Err(error) if error.unmet() == Some(MOVED_ON) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Keeps the intent's id, before it is confirmed.
pub(super) fn created(payment: &Row, intent: &str) -> UnitOfWork {
    UnitOfWork::new().step(store::CREATED, [payment.id.into(), intent.into()]).expect(1, MOVED_ON)
}

/// Records what became of the charge. `seen` is the intent that the row named when it was read.
pub(super) fn ended(
    unit: UnitOfWork,
    order_id: Id,
    payment: &Row,
    seen: Option<&str>,
    status: Status,
    standing: &Standing,
) -> UnitOfWork {
    let cancelled = payment.seen.cancelled.map(Cancellation::as_str);
    let (reason, provider_code) = match standing {
        Standing::Captured | Standing::Unconfirmed => (cancelled, None),
        Standing::Cancelled => (Some(cancelled.unwrap_or(CANCELLED_AT_PROVIDER)), None),
        Standing::Declined(decline) => (Some(decline.reason.as_str()), decline.provider_code.as_deref()),
        Standing::Differs { what } => (Some(AMOUNT_MISMATCH), Some(what.as_str())),
    };
    let params = [
        payment.id.into(),
        status.as_str().into(),
        json!(payment.reference),
        json!(reason),
        json!(provider_code),
        json!(cancelled),
        json!(seen),
    ];
    let unit = unit.step(store::LOCK, [json!(order_id.to_string())]).step(store::CHARGED, params).expect(1, MOVED_ON);
    match status {
        Status::Captured => unit.event(events::captured(order_id, payment)),
        Status::RefundPending => unit
            .event(events::captured(order_id, payment))
            .step(store::OPEN_REFUND, [Id::new().into(), payment.id.into()])
            .expect(1, "refund"),
        Status::Declined => unit.event(events::declined(order_id, payment.id, reason.unwrap_or_default())),
        Status::NeedsAttention => {
            needs_attention(order_id, payment.id, AMOUNT_MISMATCH, provider_code.unwrap_or_default());
            unit
        }
        Status::Pending | Status::Cancelled | Status::Refunded => unit,
    }
}

/// Records what became of the refund. The row alone decides: the event's inbox id may be used.
pub(super) fn given(order_id: Id, payment_id: Id, amount: Money, given: &Given) -> UnitOfWork {
    let (id, reference) = (payment_id.into(), json!(given.reference));
    let unit = UnitOfWork::new();
    match &given.state {
        GivenState::Pending => {
            unit.step(store::REFUND_TAKEN, [id, reference, WHILE_PENDING.seconds(0).into()]).expect(1, MOVED_ON)
        }
        GivenState::Succeeded => unit
            .step(store::REFUNDED, [id, reference, WHILE_SUCCEEDED.seconds(0).into()])
            .expect(1, MOVED_ON)
            .event(events::refunded(order_id, payment_id, amount)),
        GivenState::Failed { code } => {
            needs_attention(order_id, payment_id, REFUND_FAILED, code);
            unit.step(store::REFUND_LOST, [id, reference, json!(code), REFUND_FAILED.into()]).expect(1, MOVED_ON)
        }
    }
}

/// Says it where a person reads it; the payment says it too, and the audit.
fn needs_attention(order_id: Id, payment_id: Id, reason: &str, cause: &str) {
    eprintln!(
        "{}",
        json!({"level": "error", "order_id": order_id, "payment_id": payment_id, "reason": reason, "cause": cause,
            "message": "a payment needs a person: docs/payments.md says what to do"})
    );
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use towpath_sdk::{Money, wire::TransactionRequest};

    use super::*;
    use crate::{
        domain::Seen,
        provider::{Name, outcomes::Decline},
    };

    fn payment(cancelled: Option<Cancellation>) -> Row {
        Row {
            id: Id::new(),
            amount: Money::new(300, "EUR".parse().expect("a currency")),
            payment_method: "pm_card_visa".into(),
            provider: Name::Sandbox,
            reference: Some("pi".into()),
            attempt: 1,
            refund_attempt: 1,
            seen: Seen { payment: Some(Status::Pending), intent: true, refund_taken: false, cancelled },
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
        assert_eq!(captured.steps[1].params, expected);
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
    fn a_payment_that_was_never_charged_ends_without_an_event() {
        let cancelled = unit(&payment(Some(Cancellation::Cancelled)), &Standing::Cancelled);
        assert_eq!(cancelled.steps[1].params[1..4], [json!("cancelled"), json!("pi"), json!("order_cancelled")]);
        assert!(cancelled.events.is_empty());
    }

    #[test]
    fn another_amount_than_was_asked_confirms_nobody() {
        let differs = unit(&payment(None), &Standing::Differs { what: "299 eur".into() });
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
        let failed = unit(GivenState::Failed { code: "lost_or_stolen_card".into() });
        assert_eq!((failed.steps[0].sql.as_str(), failed.events.len()), (store::REFUND_LOST, 0));
    }
}
