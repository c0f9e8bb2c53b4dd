//! `POST /v1/providers/stripe/webhooks`: what Stripe says by itself.
//!
//! A webhook is signed, and still may be old, late or sent before: it changes no status. One about an intent or
//! a refund makes the timer's next question due, and the answer to that counts. A dispute is recorded as it is told; the newest word counts,
//! and a closed one stays closed. Each id counts once, by the relay's inbox.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use towpath_sdk::{Context, Id, Outcome, Problem, RelayError, Request, Response, Rows, UnitOfWork};

use crate::{
    person::Person,
    provider::{
        Name,
        webhook::{About, Refused, TOLERANCE_SECONDS, Webhook, live_mode, read, verify},
    },
    store,
};

/// Takes a webhook: answers 200 once it is recorded, so that Stripe sends it no more.
///
/// # Errors
/// 404 where no secret is configured; 400 for one that is not signed, and for what is no webhook; 503 where it can't be
/// recorded now.
pub(crate) async fn receive(context: &Context, request: &Request) -> Result<Response, Problem> {
    let first = context.variable("stripe_webhook_secret").await?;
    let second = context.variable("stripe_webhook_secret_secondary").await?;
    let secrets = [first.trim(), second.trim()];
    if secrets.iter().all(|secret| secret.is_empty()) {
        let detail = "This shop takes no webhooks: the variable stripe_webhook_secret is empty.";
        return Err(Problem::not_found("webhooks_not_configured", detail));
    }
    let signature = request.header("stripe-signature").unwrap_or_default();
    verify(signature, request.body(), &secrets, now()).map_err(unsigned)?;
    let ours_is_live = live_mode(&context.variable("stripe_key").await?);
    let webhook = read(request.body(), ours_is_live)
        .map_err(|why| Problem::bad_request("malformed_webhook", format!("The body is no event of Stripe: {why}.")))?;
    let ran = context.relay().await?.run(unit(&webhook)).await?;
    if let Outcome::Committed(results) = ran {
        for person in people(&webhook, results.last())? {
            person.tell();
        }
    }
    Ok(Response::json(200, &json!({"received": true})))
}

/// In seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn unsigned(why: Refused) -> Problem {
    let detail = match why {
        Refused::Malformed => "The header Stripe-Signature must be t=TIME,v1=SIGNATURE.".to_owned(),
        Refused::NotSigned => "No signature in Stripe-Signature is of this body and a secret of this shop.".to_owned(),
        Refused::OutOfTime => {
            format!("The time of the signature is more than {TOLERANCE_SECONDS} seconds away from this shop's.")
        }
    };
    Problem::bad_request("invalid_signature", detail)
}

/// What a webhook changes, once. Its last step returns the payments that a person has to hear of.
fn unit(webhook: &Webhook) -> UnitOfWork {
    let Webhook { id, kind, created, about } = webhook;
    let unit = UnitOfWork::new().inbox(format!("stripe#{id}"));
    match about {
        About::Intent { intent } => unit.step(store::PAYMENT_IS_DUE, [json!(intent)]),
        About::Refund { intent } => unit.step(store::REFUND_IS_DUE, [json!(intent)]),
        About::Refunded { intent, charge, amount, currency } => unit.step(store::REFUND_IS_DUE, [json!(intent)]).step(
            store::REFUNDED_ELSEWHERE,
            [json!(intent), json!(charge), json!(amount), json!(currency), json!(created)],
        ),
        About::Dispute(dispute) => unit.step(
            store::DISPUTED,
            [
                json!(dispute.intent),
                json!(dispute.reference),
                json!(dispute.status),
                json!(dispute.reason),
                json!(dispute.amount),
                json!(dispute.currency),
                json!(dispute.closed),
                json!(created),
            ],
        ),
        About::Nothing => unit.step(store::UNUSED, [json!(Name::Stripe.as_str()), json!(kind)]),
    }
}

/// Who has to be told, by the rows of the last step.
fn people(webhook: &Webhook, rows: Option<&Rows>) -> Result<Vec<Person>, RelayError> {
    let (reason, cause) = match &webhook.about {
        About::Dispute(dispute) => ("dispute", format!("{} is {}", dispute.reference, dispute.status)),
        About::Refunded { charge, amount, currency, .. } => {
            ("refunded_elsewhere", format!("{amount} {currency} of {charge} went back"))
        }
        About::Intent { .. } | About::Refund { .. } | About::Nothing => return Ok(vec![]),
    };
    let Some(rows) = rows else { return Ok(vec![]) };
    rows.map(|row| {
        let (order_id, payment_id) = (row.get::<Id>("order_id")?, row.get::<Id>("id")?);
        Ok(Person { order_id, payment_id, reason: reason.into(), cause: cause.clone() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::webhook::Dispute;

    fn webhook(about: About) -> Webhook {
        Webhook { id: "evt_1".into(), kind: "a.kind".into(), created: 7, about }
    }

    fn steps(about: About) -> Vec<String> {
        let unit = unit(&webhook(about)).into_request();
        assert_eq!(unit.inbox.as_deref(), Some("stripe#evt_1"), "each counts once");
        assert!(unit.events.is_empty(), "the provider's answer counts, and not the webhook");
        unit.steps.into_iter().map(|step| step.sql).collect()
    }

    #[test]
    fn a_webhook_says_what_to_ask_and_changes_no_status() {
        let intent = || "pi_1".to_owned();
        assert_eq!(steps(About::Intent { intent: intent() }), [store::PAYMENT_IS_DUE]);
        assert_eq!(steps(About::Refund { intent: intent() }), [store::REFUND_IS_DUE]);
        let charge = || "ch_1".to_owned();
        let refunded = About::Refunded { intent: intent(), charge: charge(), amount: 5, currency: "eur".into() };
        assert_eq!(steps(refunded), [store::REFUND_IS_DUE, store::REFUNDED_ELSEWHERE]);
        let dispute = Dispute {
            reference: "dp_1".into(),
            intent: intent(),
            status: "needs_response".into(),
            reason: None,
            amount: 5,
            currency: "eur".into(),
            closed: false,
        };
        assert_eq!(steps(About::Dispute(dispute)), [store::DISPUTED]);
        assert_eq!(steps(About::Nothing), [store::UNUSED]);
    }
}
