//! A provider for development and tests: it answers as Stripe does, decides by Stripe's test names, and needs no network.
//!
//! Its books are tables of the payment database, written in transactions of their own before payment records anything: as
//! with a real provider, a charge is made even if its answer is lost. Like Stripe it keeps the answer of every idempotency
//! key, refuses a key that comes with another request (400) or while a call under it is at work (409), and knows an intent
//! that is cancelled from one that is charged.
//!
//! A row beside the books makes it fail for a while, so that tests and chaos can do what a failing provider does:
//!
//! ```text
//! towpath psql payment -- -c "UPDATE sandbox_behaviour SET mode = 'slow', until = now() + interval '1 minute'"
//! ```
//!
//! | mode | what it does |
//! |---|---|
//! | `gone` | is not reachable: nothing happens |
//! | `slow` | does what it is asked, and answers too late: the same call again, or a look, tells at once |
//! | `500` | answers 500, does nothing, and keeps that answer: this key never gets another one |
//! | `429` | answers 429: nothing happens, and nothing is kept |
//! | `409` | answers 409 to every call that has a key, as if another one were at work under it: nothing happens |
//! | `asks` | asks every customer to authenticate |
//! | `refunds` | has a bank work on every refund; what becomes of them, `sandbox_ledger` is told |

pub mod rules;
pub mod store;

use std::{cell::RefCell, time::Duration};

use serde_json::{Value, json};
use towpath_sdk::{Currency, Id, Money, Outcome as Done, Problem, Query, Relay, RelayError, Row, Rows, UnitOfWork};

use super::{Answer, Charge, ProviderError, stripe::Call};
use rules::{
    Change, Decision, Intent, IntentStatus, Mode, Outcome, RefundEntry, RefundStatus, Saved, Seen, after, decide,
    in_use,
};

/// The label of every guard: another call is at work under this key, or on this intent.
const IN_USE: &str = "in_use";

/// The index that holds that a charge is refunded once: another key was first.
const GOES_BACK_ONCE: &str = "sandbox_ledger_refunds";

/// The sandbox, which keeps its books through a relay.
#[derive(Clone, Debug)]
pub struct Sandbox<'a> {
    relay: &'a Relay,
    /// The intent that it created last, which the next call most likely confirms.
    created: RefCell<Option<Intent>>,
}

impl<'a> Sandbox<'a> {
    /// The sandbox that keeps its books through this relay.
    #[must_use]
    pub fn new(relay: &'a Relay) -> Self {
        Self { relay, created: RefCell::default() }
    }

    pub(super) async fn call(&self, call: &Call, timeout: Duration) -> Result<Answer, ProviderError> {
        if let Some(answer) = self.as_usual(call).await? {
            return Ok(answer);
        }
        let (intent, refund) = subject(call);
        let query = Query::new(store::SANDBOX_SEEN, [json!(call.key()), json!(intent), json!(refund)]);
        let rows = self.relay.query(query).await.map_err(|error| unwritten(&error))?;
        let seen = read(&rows).map_err(|error| unwritten(&error))?;
        if seen.mode == Mode::Gone {
            return Err(ProviderError::later("the sandbox can't be reached, as it was told"));
        }
        let decision = decide(call, &seen, &Id::new().to_string());
        let unit = unit(UnitOfWork::new(), call, &decision);
        // What has happened before is told at once: only so does a call get past the one whose answer was lost.
        let late = seen.mode == Mode::Slow && !unit.is_empty();
        let answer = if unit.is_empty() {
            decision.answer
        } else {
            match self.relay.run(unit).await {
                Ok(_) => decision.answer,
                Err(error) if error.unmet() == Some(IN_USE) || error.constraint() == Some(GOES_BACK_ONCE) => in_use(),
                Err(error) => return Err(unwritten(&error)),
            }
        };
        if late {
            spin_sdk::time::sleep(timeout).await;
            return Err(ProviderError::later("the sandbox didn't answer in time, as it was told"));
        }
        Ok(answer)
    }

    /// Answers without a look at the books before: by what a call of a payment that nobody disturbed finds there. The unit of
    /// work that writes the answer also finds out whether it was so; otherwise nothing happens, and this answers `None`.
    async fn as_usual(&self, call: &Call) -> Result<Option<Answer>, ProviderError> {
        let Some(seen) = expected(call, self.created.borrow().as_ref()) else { return Ok(None) };
        let decision = decide(call, &seen, &Id::new().to_string());
        if decision.keep.is_none() {
            return Ok(None);
        }
        let usual = UnitOfWork::new().step(store::SANDBOX_AS_USUAL, Vec::new()).expect(1, IN_USE);
        let results = match self.relay.run(unit(usual, call, &decision)).await {
            Ok(Done::Committed(results)) => results,
            Ok(Done::Duplicate | Done::Replayed(_)) => return Ok(None),
            Err(error) if error.unmet() == Some(IN_USE) => return Ok(None),
            Err(error) => return Err(unwritten(&error)),
        };
        if let Change::Create { intent, charge } = &decision.change {
            let secret = results.last().and_then(Rows::first).map(|row| row.get("client_secret")).transpose();
            let secret = secret.map_err(|error| unwritten(&error))?;
            self.created.replace(secret.map(|secret| created(intent, charge, secret)));
        }
        Ok(Some(decision.answer))
    }

    /// A customer authenticates, or fails to. Returns the intent and its new state.
    ///
    /// # Errors
    /// 404 `unknown_client_secret`; 409 `no_challenge` where the intent doesn't wait for its customer.
    pub(crate) async fn challenge(
        &self,
        client_secret: &str,
        outcome: Outcome,
    ) -> Result<(String, IntentStatus), Problem> {
        let unknown = || Problem::not_found("unknown_client_secret", "No intent of the sandbox has this secret.");
        let (reference, secret) = client_secret.split_once("_secret_").ok_or_else(unknown)?;
        let query = Query::new(store::SANDBOX_INTENT_OF, [json!(reference), json!(secret)]);
        let rows = self.relay.query(query).await?;
        let intent = intent(rows.first().ok_or_else(unknown)?, reference.into())?;
        let none = || Problem::conflict("no_challenge", "This intent does not wait for its customer.");
        let (to, declined) = after(&intent, outcome).ok_or_else(none)?;
        let unit = moves(UnitOfWork::new(), &intent.reference, intent.status, to, &intent.payment_method);
        let key = format!("challenge-{reference}-{}", Id::new());
        let unit = unit.step(store::LEDGER_CHARGE, [json!(key), json!(reference), json!(declined)]).expect(1, IN_USE);
        match self.relay.run(unit).await {
            Ok(_) => Ok((intent.reference, to)),
            Err(error) if error.unmet() == Some(IN_USE) => Err(none()),
            Err(error) => Err(error.into()),
        }
    }
}

/// An intent as it was just created, with the secret that the books gave it.
fn created(reference: &str, charge: &Charge, secret: String) -> Intent {
    let (reference, payment_method) = (reference.into(), charge.payment_method.clone());
    Intent { reference, money: charge.money, payment_method, status: IntentStatus::Unconfirmed, secret }
}

/// What a call finds where nobody was first and nothing failed, as far as that is known without a look. `created`: the intent
/// that was created last.
fn expected(call: &Call, created: Option<&Intent>) -> Option<Seen> {
    match call {
        Call::Create { .. } => Some(Seen::default()),
        Call::Confirm { intent, .. } => {
            let created = created.filter(|created| created.reference == *intent)?;
            Some(Seen { intent: Some(created.clone()), ..Seen::default() })
        }
        _ => None,
    }
}

/// The intent and the refund that a call is about.
fn subject(call: &Call) -> (Option<&str>, Option<&str>) {
    match call {
        Call::Create { .. } => (None, None),
        Call::Confirm { intent, .. }
        | Call::Cancel { intent }
        | Call::Look { intent }
        | Call::ListRefunds { intent } => (Some(intent), None),
        Call::Refund { refund, .. } => (Some(&refund.intent), None),
        Call::LookAtRefund { reference } => (None, Some(reference)),
    }
}

/// The unit of work of a decision: all of it, or nothing if another call was first. `unit` begins it.
fn unit(mut unit: UnitOfWork, call: &Call, decision: &Decision) -> UnitOfWork {
    let key = call.key().unwrap_or_default();
    if let Some(request) = &decision.keep {
        let answer = &decision.answer;
        let params = [json!(key), json!(request), answer.status.into(), json!(String::from_utf8_lossy(&answer.body))];
        unit = unit.step(store::SANDBOX_KEEP, params).expect(1, IN_USE);
    }
    match &decision.change {
        Change::Nothing => unit,
        Change::Create { intent, charge } => {
            let (amount, currency) = (charge.money.amount, charge.money.currency);
            let params: [Value; 5] =
                [json!(intent), charge.order_id.into(), amount.into(), currency.into(), json!(charge.payment_method)];
            unit.step(store::SANDBOX_CREATE, params).expect(1, IN_USE)
        }
        Change::Move { intent, to, declined } => {
            let unit = moves(unit, &intent.reference, intent.status, *to, &intent.payment_method);
            match to {
                IntentStatus::Succeeded | IntentStatus::Declined => {
                    // A look that moves an intent on has no key.
                    let key = if key.is_empty() { intent.reference.as_str() } else { key };
                    unit.step(store::LEDGER_CHARGE, [json!(key), json!(intent.reference), json!(declined)])
                        .expect(1, IN_USE)
                }
                _ => unit,
            }
        }
        Change::Refund { refund, intent, status } => unit
            .step(store::LEDGER_REFUND, [json!(key), json!(refund), json!(intent), json!(status.as_str())])
            .expect(1, IN_USE),
        Change::MoveRefund { refund, from, to } => {
            unit.step(store::LEDGER_MOVE, [json!(refund), json!(from.as_str()), json!(to.as_str())]).expect(1, IN_USE)
        }
    }
}

fn moves(unit: UnitOfWork, intent: &str, from: IntentStatus, to: IntentStatus, payment_method: &str) -> UnitOfWork {
    let params = [json!(intent), json!(from.as_str()), json!(to.as_str()), json!(payment_method)];
    unit.step(store::SANDBOX_MOVE, params).expect(1, IN_USE)
}

fn intent(row: Row<'_>, reference: String) -> Result<Intent, RelayError> {
    let status = row.get::<String>("status")?;
    let unknown = || RelayError::Malformed(format!("the status {status} of an intent of the sandbox"));
    Ok(Intent {
        reference,
        money: Money::new(row.get("amount")?, row.get::<Currency>("currency")?),
        payment_method: row.get("payment_method")?,
        status: IntentStatus::parse(&status).ok_or_else(unknown)?,
        secret: row.get("client_secret")?,
    })
}

fn unwritten(error: &RelayError) -> ProviderError {
    let cause = format!("the sandbox's books: {error}");
    if error.is_transient() { ProviderError::later(cause) } else { ProviderError::failed(cause) }
}

fn read(rows: &Rows) -> Result<Seen, RelayError> {
    let malformed = |what: &str| RelayError::Malformed(format!("the sandbox's {what}"));
    let row = rows.first().ok_or_else(|| malformed("books are missing"))?;
    let saved = match row.get::<Option<String>>("request")? {
        None => None,
        Some(request) => {
            let status = row.get::<i32>("answered")?;
            let status = u16::try_from(status).map_err(|_| malformed("answer has no status"))?;
            Some(Saved { request, status, body: row.get("body")? })
        }
    };
    let seen_intent = match row.get::<Option<String>>("intent")? {
        None => None,
        Some(reference) => Some(intent(row, reference)?),
    };
    let refund = match row.get::<Option<String>>("refund")? {
        None => None,
        Some(reference) => {
            let status = row.get::<String>("refund_status")?;
            let status = RefundStatus::parse(&status).ok_or_else(|| malformed("refund's status"))?;
            Some(RefundEntry { reference, status })
        }
    };
    let mode = row.get::<Option<String>>("mode")?;
    Ok(Seen { saved, intent: seen_intent, refund, mode: Mode::parse(mode.as_deref()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::units::Units;

    fn create() -> Call {
        let money = Money::new(300, "EUR".parse().expect("a currency"));
        let units = Units::of(money).expect("payable");
        let charge = Charge { order_id: Id::new(), money, units, payment_method: "pm_card_visa".into() };
        Call::Create { charge, key: "create-1".into() }
    }

    #[test]
    fn an_answer_is_kept_with_what_it_says_has_happened() {
        let call = create();
        let unit = unit(UnitOfWork::new(), &call, &decide(&call, &Seen::default(), "1")).into_request();
        assert_eq!(
            unit.steps.iter().map(|step| step.sql.as_str()).collect::<Vec<_>>(),
            [store::SANDBOX_KEEP, store::SANDBOX_CREATE]
        );
        assert!(unit.steps.iter().all(|step| step.label.as_deref() == Some(IN_USE)));
    }

    #[test]
    fn a_payment_that_nobody_disturbs_needs_no_look_before_its_calls() {
        let call = create();
        let Call::Create { charge, .. } = &call else { panic!("it creates") };
        assert_eq!(expected(&call, None), Some(Seen::default()));
        let created = created("pi", charge, "secret".into());
        let confirm = |intent: &str| Call::Confirm {
            intent: intent.into(),
            payment_method: "pm_card_visa".into(),
            key: "confirm-1".into(),
        };
        assert_eq!(expected(&confirm("another"), Some(&created)), None);
        assert_eq!(expected(&confirm("pi"), None), None, "an earlier delivery created it");
        assert_eq!(expected(&Call::Cancel { intent: "pi".into() }, Some(&created)), None);
        let call = confirm("pi");
        let seen = expected(&call, Some(&created)).expect("what was created");
        let usual = UnitOfWork::new().step(store::SANDBOX_AS_USUAL, Vec::new()).expect(1, IN_USE);
        let unit = unit(usual, &call, &decide(&call, &seen, "1")).into_request();
        assert_eq!(
            unit.steps.iter().map(|step| step.sql.as_str()).collect::<Vec<_>>(),
            [store::SANDBOX_AS_USUAL, store::SANDBOX_KEEP, store::SANDBOX_MOVE, store::LEDGER_CHARGE]
        );
        assert!(unit.steps.iter().all(|step| step.expect.is_some()), "each finds out whether it is as expected");
        assert_eq!(unit.steps[2].params[1], json!("requires_confirmation"));
    }

    #[test]
    fn a_failure_is_kept_and_changes_nothing_and_too_many_requests_leave_no_trace() {
        let call = create();
        let unit_in = |mode| {
            let decision = decide(&call, &Seen { mode, ..Seen::default() }, "1");
            unit(UnitOfWork::new(), &call, &decision).into_request()
        };
        let failed = unit_in(Mode::Fails);
        assert_eq!((failed.steps.len(), failed.steps[0].sql.as_str()), (1, store::SANDBOX_KEEP));
        assert_eq!(failed.steps[0].params[2], json!(500));
        assert!(unit_in(Mode::Limits).steps.is_empty());
    }
}
