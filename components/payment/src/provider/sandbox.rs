//! A provider for development and tests: it decides by Stripe's test names and needs no network.
//!
//! Its books are a table of the payment database, written in transactions of its own before payment records anything:
//! what a bank across the network does is done when it answers, whether or not anybody hears the answer.

use serde_json::{Value, json};
use towpath_sdk::{Currency, Id, Money, Outcome, Relay, RelayError, Rows, UnitOfWork};

use super::{Charge, Charged, Provider, ProviderError, Refund};
use crate::store;

/// Names that pay.
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

/// Names that are declined, and why. Stripe writes them with and without `visa_`.
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

/// Why a payment method is declined; `None` where it pays.
#[must_use]
pub fn decline(payment_method: &str) -> Option<&'static str> {
    if PAYING.contains(&payment_method) {
        return None;
    }
    let short = payment_method.replacen("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", 1);
    let known = DECLINED.iter().find(|(name, _)| *name == short);
    Some(known.map_or("invalid_payment_method", |(_, reason)| reason))
}

/// The sandbox, with the way to its books.
#[derive(Clone, Debug)]
pub struct Sandbox<'a> {
    relay: &'a Relay,
}

/// An entry of the books.
struct Entry {
    reference: String,
    amount: Money,
    declined: Option<String>,
    charge: Option<String>,
}

impl<'a> Sandbox<'a> {
    /// The sandbox that keeps its books through this relay.
    #[must_use]
    pub fn new(relay: &'a Relay) -> Self {
        Self { relay }
    }

    /// Writes an entry if there is none under the key, and reads the one that there is then.
    async fn write(&self, sql: &str, params: Vec<Value>, key: &str) -> Result<Entry, ProviderError> {
        let unit = UnitOfWork::new().step(sql, params).step(store::LEDGER_ENTRY, [json!(key)]);
        // An answer that is lost here is lost as a bank's would be: whoever asks again finds the entry.
        let Outcome::Committed(results) = self.relay.run(unit).await.map_err(unwritten)? else {
            return Err(ProviderError::failed("the sandbox's books answered something else"));
        };
        read(results.get(1)).map_err(unwritten)?.ok_or_else(|| ProviderError::failed(format!("no entry under {key}")))
    }
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
}
