//! [Webhooks](https://docs.stripe.com/webhooks) of Stripe: whether one is signed, and what it is about. All of it is pure.
//!
//! Whoever reads one trusts its signature, and not its order: webhooks come late, twice, and in any order. So most of them
//! only say what to ask the provider about.

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

/// How far the time of a signature may be from ours, in seconds: Stripe's own default. It bounds for how long somebody who
/// has read a webhook can send it again; each counts once in any case.
pub const TOLERANCE_SECONDS: i64 = 300;
/// The most signatures of a header that are looked at: Stripe sends one for each secret, and two while one is rotated.
const MAX_SIGNATURES: usize = 8;
/// The longest id, and the longest type.
const MAX_CHARS: usize = 100;
/// The year 9999: what comes later is no time.
const MAX_SECONDS: i64 = 253_402_300_799;

/// Why a webhook is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The header is missing, or isn't `t=...,v1=...`.
    Malformed,
    /// No signature is of one of the secrets.
    NotSigned,
    /// It was signed too long ago, or too far in the future.
    OutOfTime,
}

/// Checks the header `Stripe-Signature` against the body as it came. `now` is in seconds since 1970; secrets that are empty
/// sign nothing. Every signature is compared in constant time, and with every secret.
///
/// # Errors
/// See [`Refused`].
pub fn verify(header: &str, body: &[u8], secrets: &[&str], now: i64) -> Result<(), Refused> {
    let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let time = pairs().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Refused::Malformed)?;
    let signed_at: i64 = time.parse().map_err(|_| Refused::Malformed)?;
    // `v0` is a scheme for tests: it counts for nothing. One that can't be read takes nothing from the others.
    let shown = pairs().filter(|(name, _)| *name == "v1").take(MAX_SIGNATURES);
    let shown: Vec<_> = shown.filter_map(|(_, value)| unhex(value)).collect();
    if shown.is_empty() {
        return Err(Refused::Malformed);
    }
    let mut signed = false;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        for signature in &shown {
            signed |= mac(secret, time, body).verify_slice(signature).is_ok();
        }
    }
    match now.abs_diff(signed_at) {
        _ if !signed => Err(Refused::NotSigned),
        distance if distance > TOLERANCE_SECONDS.unsigned_abs() => Err(Refused::OutOfTime),
        _ => Ok(()),
    }
}

/// The header of a body that is signed now, as Stripe writes it.
#[must_use]
pub fn sign(body: &[u8], secret: &str, now: i64) -> String {
    let signature = mac(secret, &now.to_string(), body).finalize().into_bytes();
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={now},v1={hex}")
}

fn mac(secret: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.chain_update(time).chain_update(".").chain_update(body)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Its id, the same whenever it is sent.
    pub id: String,
    /// Such as `refund.updated`.
    pub kind: String,
    /// When it happened, in seconds since 1970.
    pub created: i64,
    /// What it is about.
    pub about: About,
}

/// What a webhook is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// An intent: what became of it, the provider says when it is asked.
    Intent {
        /// The intent.
        intent: String,
    },
    /// The refund of an intent: the same.
    Refund {
        /// The intent.
        intent: String,
    },
    /// A charge of which something went back.
    Refunded {
        /// The intent.
        intent: String,
        /// The charge.
        charge: String,
        /// How much, in the provider's units.
        amount: i64,
        /// In lower case.
        currency: String,
    },
    /// A dispute.
    Dispute(Dispute),
    /// Nothing that payment has to know.
    Nothing,
}

/// A dispute, as the provider tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Its name.
    pub reference: String,
    /// The intent.
    pub intent: String,
    /// Such as `needs_response`.
    pub status: String,
    /// Such as `fraudulent`.
    pub reason: Option<String>,
    /// In the provider's units.
    pub amount: i64,
    /// In lower case.
    pub currency: String,
    /// Whether it has ended.
    pub closed: bool,
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    livemode: Option<bool>,
    account: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// Whether a key of Stripe is one of live mode; `None` where it does not say so.
#[must_use]
pub fn live_mode(key: &str) -> Option<bool> {
    let (_, rest) = key.trim().split_once('_')?;
    match rest.split_once('_')?.0 {
        "live" => Some(true),
        "test" => Some(false),
        _ => None,
    }
}

/// Reads a webhook. One of an unknown type, or about what isn't ours, is about [`About::Nothing`]: so is one of an account that
/// is connected with ours, and one of test mode where our key is live, or the other way round. An endpoint for connected
/// accounts gets both.
///
/// # Errors
/// What is wrong with it, where it is none.
pub fn read(body: &[u8], ours_is_live: Option<bool>) -> Result<Webhook, String> {
    let Envelope { id, kind, created, livemode, account, data } =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if id.is_empty() || id.chars().count() > MAX_CHARS {
        return Err(format!("its id must have 1 to {MAX_CHARS} characters"));
    }
    if !(0..=MAX_SECONDS).contains(&created) {
        return Err("its time must be in seconds since 1970".into());
    }
    let other_mode = livemode.zip(ours_is_live).is_some_and(|(theirs, ours)| theirs != ours);
    let about = about(&kind, &data.object).filter(|_| account.is_none() && !other_mode).unwrap_or(About::Nothing);
    let webhook = Webhook { id, kind: kind.chars().take(MAX_CHARS).collect(), created, about };
    // JSON has it, and the database takes none.
    if webhook.texts().iter().any(|text| text.contains('\0')) {
        return Err("no name in it may have the character U+0000".into());
    }
    Ok(webhook)
}

impl Webhook {
    /// All text that is kept of it.
    fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = vec![&self.id, &self.kind];
        match &self.about {
            About::Intent { intent } | About::Refund { intent } => texts.push(intent),
            About::Refunded { intent, charge, currency, amount: _ } => texts.extend([&**intent, charge, currency]),
            About::Dispute(dispute) => {
                let Dispute { reference, intent, status, reason, currency, amount: _, closed: _ } = dispute;
                texts.extend([&**reference, intent, status, currency]);
                texts.extend(reason.as_deref());
            }
            About::Nothing => {}
        }
        texts
    }
}

fn about(kind: &str, object: &Value) -> Option<About> {
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    let intent = || text("payment_intent");
    Some(match kind {
        "payment_intent.requires_action"
        | "payment_intent.processing"
        | "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.canceled" => About::Intent { intent: text("id")? },
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            About::Refund { intent: intent()? }
        }
        // Nothing of it went back, as after a refund that failed.
        "charge.refunded" if object["amount_refunded"] == 0 => About::Refund { intent: intent()? },
        "charge.refunded" => About::Refunded {
            intent: intent()?,
            charge: text("id")?,
            amount: object["amount_refunded"].as_i64().filter(|amount| *amount > 0)?,
            currency: text("currency")?,
        },
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => {
            let status = text("status")?;
            About::Dispute(Dispute {
                reference: text("id")?,
                intent: intent()?,
                closed: matches!(status.as_str(), "won" | "lost" | "warning_closed" | "prevented"),
                status,
                reason: text("reason"),
                amount: object["amount"].as_i64().filter(|amount| *amount >= 0)?,
                currency: text("currency")?,
            })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
