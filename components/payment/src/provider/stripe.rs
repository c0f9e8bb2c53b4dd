//! Stripe's [PaymentIntents](https://docs.stripe.com/api/payment_intents).
//!
//! Pure functions build the requests and read the answers, so that tests can use them with a server of their own; only
//! [`Stripe`] makes calls of the component.

use std::time::Duration;

use serde::Deserialize;
use towpath_sdk::{
    Time,
    outbound::{self, Call},
    peer::encode,
};

use super::{Charge, Charged, PROVIDER_TIMEOUT, Provider, ProviderError, Refund};

/// The version of the interface that this was written against.
pub const VERSION: &str = "2025-03-31.basil";

const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Stripe deletes a key after 24 hours. Well before that, a repeated charge searches for the first one.
const KEY_IS_GOOD_FOR: Duration = Duration::from_secs(20 * 3600);

/// A request to Stripe: a form with a key, or a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `POST` or `GET`.
    pub method: &'static str,
    /// From the root.
    pub path: String,
    /// `Idempotency-Key`, on a `POST`.
    pub key: Option<String>,
    /// The form.
    pub body: String,
}

/// The request of a charge: creates and confirms in one. It is declined if the card's holder would have to do something,
/// since no person is present.
#[must_use]
pub fn ask_charge(charge: &Charge) -> Ask {
    let form = [
        ("amount", charge.amount.amount.to_string()),
        ("currency", charge.amount.currency.as_str().to_ascii_lowercase()),
        ("payment_method", charge.payment_method.clone()),
        ("payment_method_types[]", "card".into()),
        ("confirm", "true".into()),
        ("error_on_requires_action", "true".into()),
        ("metadata[order_id]", charge.order_id.to_string()),
    ];
    Ask { method: "POST", path: "/v1/payment_intents".into(), key: Some(charge.key()), body: encoded(&form) }
}

/// The request of a refund.
#[must_use]
pub fn ask_refund(refund: &Refund) -> Ask {
    let form = [
        ("payment_intent", refund.charge.clone()),
        ("amount", refund.amount.amount.to_string()),
        ("metadata[order_id]", refund.order_id.to_string()),
    ];
    Ask { method: "POST", path: "/v1/refunds".into(), key: Some(refund.key()), body: encoded(&form) }
}

/// The request that searches for the charge of an earlier attempt.
#[must_use]
pub fn ask_search(charge: &Charge) -> Ask {
    let query = encode(&format!("metadata['order_id']:'{}'", charge.order_id));
    Ask { method: "GET", path: format!("/v1/payment_intents/search?query={query}"), key: None, body: String::new() }
}

fn encoded(form: &[(&str, String)]) -> String {
    let pairs: Vec<_> = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    #[serde(default)]
    last_payment_error: Option<Fault>,
}

#[derive(Deserialize)]
struct Found {
    data: Vec<Intent>,
}

#[derive(Deserialize)]
struct Refunded {
    id: String,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Fault,
}

#[derive(Default, Deserialize)]
struct Fault {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    param: Option<String>,
    #[serde(default)]
    payment_intent: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Fault {
    /// The reason that an order gives: `insufficient_funds` rather than `card_declined`, where Stripe knows it.
    fn reason(&self) -> String {
        let telling = self.decline_code.as_deref().filter(|code| *code != "generic_decline");
        telling.or(self.code.as_deref()).unwrap_or("card_declined").into()
    }

    fn describe(&self, status: u16) -> String {
        let code = self.code.as_deref().unwrap_or("no code");
        format!("Stripe: {status} {} ({code}): {}", self.kind, self.message.as_deref().unwrap_or_default())
    }
}

/// Reads the answer to [`ask_charge`].
///
/// # Errors
/// Where it isn't final.
pub fn read_charge(status: u16, retry_after: Option<&str>, body: &[u8]) -> Result<Charged, ProviderError> {
    if status == 200 {
        return settled(parse(body)?);
    }
    let fault = fault(body);
    let declined = |reason| {
        let reference = fault.payment_intent.as_ref().map(|intent| intent.id.clone());
        Ok(Charged::Declined { reason, reference })
    };
    match (status, fault.param.as_deref(), fault.code.as_deref()) {
        (402, ..) => declined(fault.reason()),
        // Stripe has looked at what the customer sent, and there is no such thing, or it can't pay this.
        (400 | 404, Some("payment_method"), _) => declined("invalid_payment_method".into()),
        (400, Some("amount" | "currency"), Some(code)) => declined(code.into()),
        _ => Err(unanswered(status, retry_after, &fault)),
    }
}

/// Reads the answer to [`ask_search`]: the charge that there is, if it is settled.
///
/// # Errors
/// Where there is one that isn't settled yet, or no answer.
pub fn read_search(status: u16, retry_after: Option<&str>, body: &[u8]) -> Result<Option<Charged>, ProviderError> {
    if status != 200 {
        return Err(unanswered(status, retry_after, &fault(body)));
    }
    let Found { data } = parse(body)?;
    // One that was paid counts, whatever else was tried.
    let (paid, other): (Vec<_>, Vec<_>) = data.into_iter().partition(|intent| intent.status == "succeeded");
    paid.into_iter().chain(other).next().map(settled).transpose()
}

/// Reads the answer to [`ask_refund`]: Stripe's name for the refund.
///
/// # Errors
/// Where it isn't final.
pub fn read_refund(status: u16, retry_after: Option<&str>, body: &[u8], charge: &str) -> Result<String, ProviderError> {
    if status == 200 {
        let refund: Refunded = parse(body)?;
        // A pending one is Stripe's to bring to its end.
        return match refund.status.as_deref() {
            Some(status @ ("failed" | "canceled" | "requires_action")) => {
                Err(ProviderError::failed(format!("the refund {} is {status}", refund.id)))
            }
            _ => Ok(refund.id),
        };
    }
    let fault = fault(body);
    match fault.code.as_deref() {
        // By an attempt whose key Stripe has forgotten.
        Some("charge_already_refunded") => Ok(format!("already_refunded:{charge}")),
        _ => Err(unanswered(status, retry_after, &fault)),
    }
}

fn settled(intent: Intent) -> Result<Charged, ProviderError> {
    let Intent { id, status, last_payment_error } = intent;
    match status.as_str() {
        "succeeded" => Ok(Charged::Captured { reference: id }),
        "processing" | "requires_capture" => Err(ProviderError::later(format!("{id} is {status}"))),
        "requires_action" => Ok(Charged::Declined { reason: "authentication_required".into(), reference: Some(id) }),
        _ => {
            let reason = last_payment_error.unwrap_or_default().reason();
            Ok(Charged::Declined { reason, reference: Some(id) })
        }
    }
}

fn unanswered(status: u16, retry_after: Option<&str>, fault: &Fault) -> ProviderError {
    let cause = fault.describe(status);
    match fault.code.as_deref() {
        Some("idempotency_key_in_use") => ProviderError::later(cause),
        _ => ProviderError::unanswered(status, retry_after, cause),
    }
}

fn fault(body: &[u8]) -> Fault {
    serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error).unwrap_or_default()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ProviderError> {
    // What was asked has happened: the answer may be readable next time, to a newer version of us.
    serde_json::from_slice(body).map_err(|error| ProviderError::later(format!("Stripe's answer: {error}")))
}

/// Stripe, at a URL, with a key.
#[derive(Clone, Debug)]
pub struct Stripe {
    url: String,
    key: String,
}

impl Stripe {
    /// Stripe, or a server that speaks as it does.
    #[must_use]
    pub fn new(url: &str, key: &str) -> Self {
        Self { url: url.trim().trim_end_matches('/').into(), key: key.trim().into() }
    }

    async fn call(&self, ask: Ask) -> Result<outbound::Answer, ProviderError> {
        let mut headers = http::HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            let value =
                value.parse().map_err(|_| ProviderError::failed(format!("the header {name} can't be written")))?;
            headers.insert(name, value);
            Ok(())
        };
        set("authorization", &format!("Bearer {}", self.key))?;
        set("stripe-version", VERSION)?;
        if let Some(key) = &ask.key {
            set("idempotency-key", key)?;
            set("content-type", "application/x-www-form-urlencoded")?;
        }
        let call = Call {
            method: if ask.method == "GET" { http::Method::GET } else { http::Method::POST },
            url: format!("{}{}", self.url, ask.path),
            headers,
            body: ask.body.into(),
            timeout: PROVIDER_TIMEOUT,
            max_answer_bytes: MAX_ANSWER_BYTES,
        };
        outbound::call(call).await.map_err(|error| ProviderError::later(format!("Stripe {error}")))
    }
}

fn retry_after(answer: &outbound::Answer) -> Option<&str> {
    answer.headers.get("retry-after")?.to_str().ok()
}

impl Provider for Stripe {
    async fn charge(&self, charge: &Charge) -> Result<Charged, ProviderError> {
        if Time::now().minus(KEY_IS_GOOD_FOR) > charge.since {
            let answer = self.call(ask_search(charge)).await?;
            if let Some(charged) = read_search(answer.status, retry_after(&answer), &answer.body)? {
                return Ok(charged);
            }
        }
        let answer = self.call(ask_charge(charge)).await?;
        read_charge(answer.status, retry_after(&answer), &answer.body)
    }

    async fn refund(&self, refund: &Refund) -> Result<String, ProviderError> {
        let answer = self.call(ask_refund(refund)).await?;
        read_refund(answer.status, retry_after(&answer), &answer.body, &refund.charge)
    }
}

#[cfg(test)]
mod tests;
