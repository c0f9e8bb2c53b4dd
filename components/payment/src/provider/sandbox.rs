//! A provider for development and tests: it decides by Stripe's test names and needs no network.
//!
//! Its ledger is a table of the payment database, written in transactions of its own before payment records anything: as
//! with a real provider, a charge is made even if its answer is lost.
//!
//! A row beside the ledger makes it fail for a while, so that tests and chaos can do what a failing provider does:
//!
//! ```text
//! towpath psql payment -- -c "UPDATE sandbox_behaviour SET mode = 'slow', until = now() + interval '1 minute'"
//! ```
//!
//! | mode | what it does |
//! |---|---|
//! | `gone` | is not reachable: nothing happens |
//! | `slow` | makes the charge or refund, and answers too late: the next call finds it |
//! | `500`, `429` | answers with this status: nothing happens |
//!
//! The unit of work that writes the ledger reads that row too, so it costs no round trip.

use serde_json::{Value, json};
use towpath_sdk::{Currency, Id, Money, Outcome, Query, Relay, RelayError, Rows, UnitOfWork};

use super::{Charge, Charged, PROVIDER_TIMEOUT, Provider, ProviderError, Refund};
use crate::store;

/// Payment methods that can be charged.
const PAYING: &[&str] = &[
    "pm_card_visa",
    "pm_card_visa_debit",
    "pm_card_mastercard",
    "pm_card_mastercard_debit",
    "pm_card_mastercard_prepaid",
    "pm_card_amex",
    "pm_card_discover",
    "pm_card_diners",
    "pm_card_jcb",
    "pm_card_unionpay",
];

/// Payment methods that are declined, and why. Stripe has them with and without `visa_`.
const DECLINED: &[(&str, &str)] = &[
    ("pm_card_chargeDeclined", "card_declined"),
    ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ("pm_card_chargeDeclinedLostCard", "lost_card"),
    ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ("pm_card_chargeDeclinedFraudulent", "fraudulent"),
];

/// Why a payment method is declined; `None` if it can be charged.
#[must_use]
pub fn decline(payment_method: &str) -> Option<&'static str> {
    if PAYING.contains(&payment_method) {
        return None;
    }
    let short = payment_method.replacen("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", 1);
    let known = DECLINED.iter().find(|(name, _)| *name == short);
    Some(known.map_or("invalid_payment_method", |(_, reason)| reason))
}

/// The label of the step that fails while the sandbox is told to fail.
const REFUSES: &str = "the sandbox refuses";

/// The seconds of `Retry-After` in an answer of 429.
const RETRY_AFTER: &str = "2";

/// The error of a call while the sandbox fails in this mode.
#[must_use]
pub fn refusal(mode: &str) -> ProviderError {
    match mode {
        "500" => ProviderError::unanswered(500, None, "the sandbox answers 500, as it was told".into()),
        "429" => ProviderError::unanswered(429, Some(RETRY_AFTER), "the sandbox answers 429, as it was told".into()),
        _ => ProviderError::later("the sandbox can't be reached, as it was told"),
    }
}

/// The sandbox, which keeps its ledger through a relay.
#[derive(Clone, Debug)]
pub struct Sandbox<'a> {
    relay: &'a Relay,
}

/// An entry of the ledger.
struct Entry {
    reference: String,
    amount: Money,
    declined: Option<String>,
    charge: Option<String>,
    held_back: bool,
}

impl<'a> Sandbox<'a> {
    /// The sandbox that keeps its ledger through this relay.
    #[must_use]
    pub fn new(relay: &'a Relay) -> Self {
        Self { relay }
    }

    /// Writes an entry if there is none under the key, and reads the entry of the key.
    async fn write(&self, sql: &str, params: Vec<Value>, key: &str) -> Result<Entry, ProviderError> {
        // If this answer is lost, the next call finds the entry, as with a real provider.
        let results = match self.relay.run(unit(sql, params, key)).await {
            Ok(Outcome::Committed(results)) => results,
            Ok(_) => return Err(ProviderError::failed("the sandbox's books answered something else")),
            Err(error) if error.unmet() == Some(REFUSES) => return Err(self.refuses().await),
            Err(error) => return Err(unwritten(error)),
        };
        let entry = read(results.last()).map_err(unwritten)?;
        let entry = entry.ok_or_else(|| ProviderError::failed(format!("no entry under {key}")))?;
        if entry.held_back {
            spin_sdk::time::sleep(PROVIDER_TIMEOUT).await;
            return Err(ProviderError::later("the sandbox didn't answer in time, as it was told"));
        }
        Ok(entry)
    }

    /// The error of its mode; `gone` if the mode ended in the meantime.
    async fn refuses(&self) -> ProviderError {
        let mode = self.relay.query(Query::new(store::REFUSAL, [])).await;
        match mode.and_then(|rows| rows.first().map(|row| row.get::<String>("mode")).transpose()) {
            Ok(mode) => refusal(mode.as_deref().unwrap_or("gone")),
            Err(error) => unwritten(error),
        }
    }
}

/// The unit of work of a call: it rolls back while the sandbox is told to fail.
fn unit(sql: &str, params: Vec<Value>, key: &str) -> UnitOfWork {
    UnitOfWork::new()
        .step(store::REFUSAL, [])
        .expect(0, REFUSES)
        .step(sql, params)
        .step(store::LEDGER_ENTRY, [json!(key)])
}

fn unwritten(error: RelayError) -> ProviderError {
    let cause = format!("the sandbox's books: {error}");
    if error.is_transient() { ProviderError::later(cause) } else { ProviderError::failed(cause) }
}

fn read(rows: Option<&Rows>) -> Result<Option<Entry>, RelayError> {
    let Some(row) = rows.and_then(Rows::first) else { return Ok(None) };
    Ok(Some(Entry {
        reference: row.get("reference")?,
        amount: Money::new(row.get("amount")?, row.get::<Currency>("currency")?),
        declined: row.get("declined")?,
        charge: row.get("charge")?,
        held_back: row.get("held_back")?,
    }))
}

impl Provider for Sandbox<'_> {
    async fn charge(&self, charge: &Charge) -> Result<Charged, ProviderError> {
        let key = charge.key();
        let params = vec![
            json!(key),
            json!(format!("sandbox_ch_{}", Id::new())),
            charge.order_id.into(),
            charge.amount.amount.into(),
            charge.amount.currency.into(),
            json!(decline(&charge.payment_method)),
        ];
        let Entry { reference, amount, declined, .. } = self.write(store::LEDGER_CHARGE, params, &key).await?;
        if amount != charge.amount {
            return Err(ProviderError::failed(format!("{key} was used for another amount")));
        }
        Ok(match declined {
            None => Charged::Captured { reference },
            Some(reason) => Charged::Declined { reason, reference: Some(reference) },
        })
    }

    async fn refund(&self, refund: &Refund) -> Result<String, ProviderError> {
        let key = refund.key();
        let params = vec![json!(key), json!(format!("sandbox_re_{}", Id::new())), json!(refund.charge)];
        let Entry { reference, amount, charge, .. } = self.write(store::LEDGER_REFUND, params, &key).await?;
        if amount != refund.amount || charge.as_ref() != Some(&refund.charge) {
            return Err(ProviderError::failed(format!("{key} was used for another charge")));
        }
        Ok(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_names_decide() {
        assert_eq!(decline("pm_card_visa"), None);
        assert_eq!(decline("pm_card_mastercard"), None);
        assert_eq!(decline("pm_card_chargeDeclined"), Some("card_declined"));
        assert_eq!(decline("pm_card_visa_chargeDeclined"), Some("card_declined"));
        assert_eq!(decline("pm_card_chargeDeclinedInsufficientFunds"), Some("insufficient_funds"));
        assert_eq!(decline("pm_card_visa_chargeDeclinedInsufficientFunds"), Some("insufficient_funds"));
        for unknown in ["", "pm_card_visaa", "pm_1Nabc", "pm_card_chargeDeclinedX", "visa"] {
            assert_eq!(decline(unknown), Some("invalid_payment_method"), "{unknown}");
        }
    }
    #[test]
    fn a_refusal_is_what_a_real_provider_would_have_answered() {
        assert_eq!(
            refusal("500"),
            ProviderError::unanswered(500, None, "the sandbox answers 500, as it was told".into())
        );
        assert!(matches!(refusal("429"), ProviderError::Later { retry_after_seconds: Some(2), .. }));
        assert!(matches!(refusal("gone"), ProviderError::Later { retry_after_seconds: None, .. }));
    }

    #[test]
    fn while_it_refuses_nothing_is_written() {
        let unit = unit(store::LEDGER_REFUND, vec![json!("key")], "key").into_request();
        let step = &unit.steps[0];
        assert_eq!((step.sql.as_str(), step.label.as_deref()), (store::REFUSAL, Some(REFUSES)));
        assert_eq!(step.expect, Some(towpath_sdk::wire::Expect::Exactly(0)));
        assert_eq!(
            (unit.steps[1].sql.as_str(), unit.steps[2].sql.as_str()),
            (store::LEDGER_REFUND, store::LEDGER_ENTRY)
        );
    }
}
