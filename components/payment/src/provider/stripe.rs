//! Stripe's [PaymentIntents](https://docs.stripe.com/api/payment_intents) and
//! [refunds](https://docs.stripe.com/api/refunds): requests, and what their answers say. All of it is pure.
//!
//! An intent is created without being confirmed, which charges nobody; payment keeps its id, and confirms it then. So
//! whatever gets lost, the intent itself tells what became of it, and a cancelled intent can't be charged any more.

use serde::Deserialize;
use towpath_sdk::{Id, peer::encode};

use super::{
    Answer, Charge, ProviderError, Refund,
    outcomes::{DECLINED, Decline, Fault, REFUSED_REFUNDS, Verdict, verdict},
    units::Units,
};

/// The version of the interface that this was written against.
pub const VERSION: &str = "2025-03-31.basil";

/// A call of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Creates an intent, unconfirmed.
    Create {
        /// The charge.
        charge: Charge,
        /// The idempotency key.
        key: String,
    },
    /// Confirms an intent: charges it.
    Confirm {
        /// The intent.
        intent: String,
        /// What is charged: the one that it was created with, or another.
        payment_method: String,
        /// The idempotency key.
        key: String,
    },
    /// Cancels an intent, if it is not charged.
    Cancel {
        /// The intent.
        intent: String,
    },
    /// Reads an intent.
    Look {
        /// The intent.
        intent: String,
    },
    /// Refunds an intent.
    Refund {
        /// The refund.
        refund: Refund,
        /// The idempotency key.
        key: String,
    },
    /// Reads a refund.
    LookAtRefund {
        /// The refund.
        reference: String,
    },
    /// Lists the refunds of an intent.
    ListRefunds {
        /// The intent.
        intent: String,
    },
}

/// A call as an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `POST` or `GET`.
    pub method: &'static str,
    /// From the root, with the query.
    pub path: String,
    /// `Idempotency-Key`, on a `POST` that needs one.
    pub key: Option<String>,
    /// The form.
    pub body: String,
}

/// The key of an order's call. Each attempt has a key of its own: Stripe keeps the answer of a key, a failure too.
#[must_use]
pub fn key(call: &str, order_id: Id, attempt: i32) -> String {
    format!("towpath-{call}-{order_id}-{attempt}")
}

impl Call {
    /// The idempotency key, where the call has one. A cancellation needs none: the intent's state decides.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Create { key, .. } | Self::Confirm { key, .. } | Self::Refund { key, .. } => Some(key),
            Self::Cancel { .. } | Self::Look { .. } | Self::LookAtRefund { .. } | Self::ListRefunds { .. } => None,
        }
    }

    /// The call as a request.
    #[must_use]
    pub fn ask(&self) -> Ask {
        let (method, path, form): (_, String, Vec<(&str, String)>) = match self {
            Self::Create { charge, .. } => ("POST", "/v1/payment_intents".into(), create(charge)),
            Self::Confirm { intent, payment_method, .. } => {
                ("POST", intent_path(intent, "/confirm"), vec![("payment_method", payment_method.clone())])
            }
            Self::Cancel { intent } => {
                ("POST", intent_path(intent, "/cancel"), vec![("cancellation_reason", "abandoned".into())])
            }
            Self::Look { intent } => ("GET", intent_path(intent, ""), vec![]),
            Self::Refund { refund, .. } => ("POST", "/v1/refunds".into(), give_back(refund)),
            Self::LookAtRefund { reference } => ("GET", format!("/v1/refunds/{}", encode(reference)), vec![]),
            Self::ListRefunds { intent } => {
                ("GET", format!("/v1/refunds?limit=100&payment_intent={}", encode(intent)), vec![])
            }
        };
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        Ask { method, path, key: self.key().map(Into::into), body: body.join("&") }
    }
}

fn intent_path(intent: &str, call: &str) -> String {
    format!("/v1/payment_intents/{}{call}", encode(intent))
}

fn create(charge: &Charge) -> Vec<(&'static str, String)> {
    vec![
        ("amount", charge.units.amount.to_string()),
        ("currency", charge.units.currency.clone()),
        ("payment_method", charge.payment_method.clone()),
        ("payment_method_types[]", "card".into()),
        ("metadata[order_id]", charge.order_id.to_string()),
    ]
}

fn give_back(refund: &Refund) -> Vec<(&'static str, String)> {
    vec![
        ("payment_intent", refund.intent.clone()),
        ("amount", refund.units.amount.to_string()),
        ("metadata[order_id]", refund.order_id.to_string()),
    ]
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    last_payment_error: Option<Fault>,
}

/// What only the customer may know: it is in no other type, so that no log can have it.
#[derive(Deserialize)]
struct Secret {
    status: String,
    #[serde(default)]
    client_secret: Option<String>,
}

#[derive(Deserialize)]
struct RefundObject {
    id: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    failure_reason: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<RefundObject>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Refusal {
    error: Fault,
}

/// The answer to [`Call::Create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The intent's id. Nothing is charged.
    Intent(String),
    /// The provider takes no such payment.
    Declined(Decline),
    /// The intent is not what was asked for. Nothing is charged.
    Differs {
        /// The intent's id.
        intent: String,
        /// What it is.
        what: String,
    },
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has confirmed it.
    Unconfirmed,
    /// The customer has to authenticate.
    ActionRequired,
    /// A bank works on it.
    Processing,
    /// It is charged: as much as was asked.
    Captured,
    /// It is charged, but not what was asked. A person has to look at it.
    Differs {
        /// What was charged.
        what: String,
    },
    /// It is declined.
    Declined(Decline),
    /// It is cancelled: it can't be charged any more.
    Cancelled,
}

/// A refund at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The provider's name for it.
    pub reference: String,
    /// What became of it.
    pub state: GivenState,
}

/// What became of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenState {
    /// It is under way: the bank, or the customer, has still to do something.
    Pending,
    /// The money is back.
    Succeeded,
    /// The money came back to us. A person has to give it back in another way.
    Failed {
        /// The provider's word for why.
        code: String,
    },
}

/// Reads the answer to [`Call::Create`].
///
/// # Errors
/// Where it isn't final.
pub fn read_created(answer: &Answer, asked: &Units) -> Result<Created, ProviderError> {
    if answer.status == 200 {
        let intent: Intent = parse(&answer.body)?;
        return Ok(match differs(intent.amount, intent.currency.as_deref(), asked) {
            None => Created::Intent(intent.id),
            Some(what) => Created::Differs { intent: intent.id, what },
        });
    }
    refused(answer).map(Created::Declined)
}

/// Reads the answer to [`Call::Confirm`], [`Call::Cancel`] or [`Call::Look`].
///
/// # Errors
/// Where it isn't final.
pub fn read_intent(answer: &Answer, asked: &Units) -> Result<Standing, ProviderError> {
    if answer.status == 200 {
        return standing(parse(&answer.body)?, asked);
    }
    let fault = fault(&answer.body);
    // The intent is not where the call needs it. What it is, it says itself.
    if fault.code.as_deref() == Some("payment_intent_unexpected_state")
        && let Some(intent) = fault.payment_intent.clone()
        && let Ok(intent) = serde_json::from_value::<Intent>(intent)
    {
        return standing(intent, asked);
    }
    refused(answer).map(Standing::Declined)
}

/// Reads the secret of an intent that waits for its customer from the answer to [`Call::Look`].
///
/// # Errors
/// Where there is no answer.
pub fn read_secret(answer: &Answer) -> Result<Option<String>, ProviderError> {
    if answer.status != 200 {
        return Err(later(answer, fault(&answer.body).describe(answer.status)));
    }
    let Secret { status, client_secret } = parse(&answer.body)?;
    Ok(client_secret.filter(|_| status == "requires_action"))
}

fn standing(intent: Intent, asked: &Units) -> Result<Standing, ProviderError> {
    let Intent { id, status, amount_received, currency, last_payment_error, .. } = intent;
    Ok(match status.as_str() {
        "succeeded" => match differs(amount_received, currency.as_deref(), asked) {
            None => Standing::Captured,
            Some(what) => Standing::Differs { what },
        },
        "canceled" => Standing::Cancelled,
        "requires_confirmation" => Standing::Unconfirmed,
        "requires_action" => Standing::ActionRequired,
        "processing" => Standing::Processing,
        "requires_payment_method" => Standing::Declined(declined(last_payment_error)),
        other => return Err(ProviderError::later(format!("the intent {id} is {other}"))),
    })
}

/// Why an intent lost its payment method.
fn declined(error: Option<Fault>) -> Decline {
    match error.map(|error| verdict(402, &error)) {
        Some(Verdict::Declined(decline)) => decline,
        _ => Decline { reason: DECLINED.into(), provider_code: None },
    }
}

/// What there is instead of what was asked for. An answer without an amount counts as another amount.
fn differs(amount: Option<i64>, currency: Option<&str>, asked: &Units) -> Option<String> {
    if amount == Some(asked.amount) && currency == Some(&asked.currency) {
        return None;
    }
    let amount = amount.map_or_else(|| "no amount".into(), |amount| amount.to_string());
    Some(format!("{amount} {}", currency.unwrap_or("of no currency")))
}

/// Reads the answer to [`Call::Refund`] or [`Call::LookAtRefund`].
///
/// # Errors
/// Where it isn't final. A refund that Stripe refuses for good is [`ProviderError::Refused`].
pub fn read_refund(answer: &Answer, asked: &Units) -> Result<Given, ProviderError> {
    if answer.status != 200 {
        if let Some(code) = fault(&answer.body).code.filter(|code| REFUSED_REFUNDS.contains(&code.as_str())) {
            return Err(ProviderError::Refused { code });
        }
        // What would decline a charge refuses a refund, such as more than what is left of the charge.
        let Decline { reason, provider_code } = refused(answer)?;
        return Err(ProviderError::Refused { code: provider_code.unwrap_or(reason) });
    }
    given(parse(&answer.body)?, asked)
}

/// Reads the answer to [`Call::ListRefunds`]: the refund that counts, if there is one. One that failed doesn't: what came
/// back can be refunded again. Neither does a part of the charge, which somebody gave back in Stripe's dashboard.
///
/// # Errors
/// Where there is no answer.
pub fn read_refunds(answer: &Answer, asked: &Units) -> Result<Option<Given>, ProviderError> {
    if answer.status != 200 {
        return Err(later(answer, fault(&answer.body).describe(answer.status)));
    }
    let List { data, has_more } = parse(&answer.body)?;
    let counts = |refund: &RefundObject| {
        !matches!(refund.status.as_deref(), Some("failed" | "canceled"))
            && differs(refund.amount, refund.currency.as_deref(), asked).is_none()
    };
    let found = data.into_iter().find(counts);
    if found.is_none() && has_more {
        return Err(ProviderError::failed("the intent has more than 100 refunds"));
    }
    found.map(|refund| given(refund, asked)).transpose()
}

fn given(refund: RefundObject, asked: &Units) -> Result<Given, ProviderError> {
    let RefundObject { id, status, amount, currency, failure_reason } = refund;
    if let Some(what) = differs(amount, currency.as_deref(), asked) {
        return Err(ProviderError::failed(format!("the refund {id} is {what}, and not {asked}")));
    }
    let state = match status.as_deref() {
        Some("succeeded") => GivenState::Succeeded,
        Some("failed" | "canceled") => {
            GivenState::Failed { code: failure_reason.or(status).unwrap_or_else(|| "failed".into()) }
        }
        // `requires_action`: the customer has to say where the money goes.
        Some("pending" | "requires_action") | None => GivenState::Pending,
        Some(other) => return Err(ProviderError::later(format!("the refund {id} is {other}"))),
    };
    Ok(Given { reference: id, state })
}

/// A refusal: the decline, or the error.
fn refused(answer: &Answer) -> Result<Decline, ProviderError> {
    let fault = fault(&answer.body);
    let cause = fault.describe(answer.status);
    match verdict(answer.status, &fault) {
        Verdict::Declined(decline) => Ok(decline),
        Verdict::Later => Err(later(answer, cause)),
        Verdict::Spent => Err(ProviderError::Spent { cause }),
        Verdict::OurFault => Err(ProviderError::failed(cause)),
    }
}

fn later(answer: &Answer, cause: String) -> ProviderError {
    let retry_after_seconds = answer.retry_after.as_deref().and_then(|text| text.trim().parse().ok());
    ProviderError::Later { cause, retry_after_seconds }
}

fn fault(body: &[u8]) -> Fault {
    serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error).unwrap_or_default()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ProviderError> {
    // What was asked has happened: the answer may be readable next time, to a newer version of us.
    serde_json::from_slice(body).map_err(|error| ProviderError::later(format!("the answer can't be read: {error}")))
}

#[cfg(test)]
mod tests;
