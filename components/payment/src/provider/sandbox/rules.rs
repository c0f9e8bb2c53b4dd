//! What the sandbox answers: pure, from its books alone.

use serde_json::{Value, json};
use towpath_sdk::Money;

use crate::provider::{
    Answer, Charge,
    outcomes::DECLINES,
    stripe::Call,
    units::{Units, Unpayable},
};

/// Payment methods that can be charged. Stripe's [test names](https://docs.stripe.com/testing).
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
    "pm_card_bypassPending",
    PENDING_REFUND,
    REFUND_FAILS,
    PENDING_REFUND_FAILS,
];

/// A refund of it is pending first, and succeeds then.
const PENDING_REFUND: &str = "pm_card_pendingRefund";
/// A refund of it succeeds first, and fails then.
const REFUND_FAILS: &str = "pm_card_refundFail";
/// A refund of it is pending first, and fails then. Stripe has no such name.
const PENDING_REFUND_FAILS: &str = "pm_sandbox_pendingRefundFail";

/// Payment methods that are declined, with Stripe's decline code. Stripe has most of them with and without `visa_`.
const DECLINED: &[(&str, &str)] = &[
    ("pm_card_chargeDeclined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ("pm_card_chargeDeclinedLostCard", "lost_card"),
    ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ("pm_card_chargeDeclinedFraudulent", "fraudulent"),
    ("pm_card_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
    ("pm_card_chargeCustomerFail", "generic_decline"),
    ("pm_card_radarBlock", "fraudulent"),
    ("pm_card_authenticationRequired", "authentication_required"),
    ("pm_card_authenticationRequiredOnSetup", "authentication_required"),
    ("pm_card_authenticationRequiredSetupForOffSession", "authentication_required"),
    ("pm_card_threeDSecure2Required", "authentication_required"),
    ("pm_card_threeDSecureRequired", "authentication_required"),
];

/// A name of the sandbox's own, since Stripe has test names for few decline codes: this and a decline code.
const DECLINED_WITH: &str = "pm_sandbox_decline_";

/// What becomes of a payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card<'a> {
    /// It pays.
    Pays,
    /// It is declined with this code.
    Declined(&'a str),
    /// There is no such payment method.
    Unknown,
}

/// What becomes of a payment method.
#[must_use]
pub fn card(payment_method: &str) -> Card<'_> {
    if PAYING.contains(&payment_method) {
        return Card::Pays;
    }
    let own = payment_method.strip_prefix(DECLINED_WITH);
    if let Some(code) = own.filter(|code| DECLINES.iter().any(|(known, ..)| known == code)) {
        return Card::Declined(code);
    }
    let short = payment_method.replacen("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", 1);
    DECLINED.iter().find(|(name, _)| *name == short).map_or(Card::Unknown, |(_, code)| Card::Declined(code))
}

/// The state of an intent, as Stripe names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// `requires_confirmation`
    Unconfirmed,
    /// `succeeded`
    Succeeded,
    /// `requires_payment_method`
    Declined,
    /// `canceled`
    Cancelled,
}

impl IntentStatus {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unconfirmed => "requires_confirmation",
            Self::Succeeded => "succeeded",
            Self::Declined => "requires_payment_method",
            Self::Cancelled => "canceled",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unconfirmed, Self::Succeeded, Self::Declined, Self::Cancelled].into_iter().find(|s| s.as_str() == text)
    }
}

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundStatus {
    /// Under way.
    Pending,
    /// The money is back.
    Succeeded,
    /// The money came back to us.
    Failed,
}

impl RefundStatus {
    /// Its name in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Succeeded, Self::Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// How the sandbox behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    #[default]
    Normal,
    /// It can't be reached.
    Gone,
    /// Its answers come too late.
    Slow,
    /// It answers 500, and keeps the answer.
    Fails,
    /// It answers 429.
    Limits,
}

impl Mode {
    /// The mode with this name; normal without one.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("gone") => Self::Gone,
            Some("slow") => Self::Slow,
            Some("500") => Self::Fails,
            Some("429") => Self::Limits,
            _ => Self::Normal,
        }
    }
}

/// An answer that is kept under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Path and form of the first request.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// An intent in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub reference: String,
    /// How much it charges.
    pub money: Money,
    /// What it charges.
    pub payment_method: String,
    /// Its state.
    pub status: IntentStatus,
}

/// A refund in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundEntry {
    /// Its name.
    pub reference: String,
    /// Its state.
    pub status: RefundStatus,
}

/// All that an answer depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What was answered under the call's key.
    pub saved: Option<Saved>,
    /// The intent that the call is about.
    pub intent: Option<Intent>,
    /// The refund that the call is about, or the one of its intent.
    pub refund: Option<RefundEntry>,
    /// How the sandbox behaves.
    pub mode: Mode,
}

/// What happens in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// There is a new intent.
    Create {
        /// Its name.
        intent: String,
        /// What it is about.
        charge: Charge,
    },
    /// An intent is charged, or declined.
    Confirm {
        /// The intent.
        intent: String,
        /// Why it is declined.
        declined: Option<String>,
    },
    /// An intent is cancelled.
    Cancel {
        /// The intent.
        intent: String,
        /// Its state as seen.
        from: IntentStatus,
    },
    /// There is a new refund.
    Refund {
        /// Its name.
        refund: String,
        /// The intent.
        intent: String,
        /// Its state.
        status: RefundStatus,
    },
    /// A refund moves on.
    MoveRefund {
        /// The refund.
        refund: String,
        /// Its state as seen.
        from: RefundStatus,
        /// Its new state.
        to: RefundStatus,
    },
}

/// What the sandbox does about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it answers.
    pub answer: Answer,
    /// What happens in its books.
    pub change: Change,
    /// The request under which the answer is kept, if it is.
    pub keep: Option<String>,
}

/// The seconds of `Retry-After` in an answer of 429.
const RETRY_AFTER: &str = "2";

/// What the sandbox does about a call; `fresh` is part of the name of what it creates.
#[must_use]
pub fn decide(call: &Call, seen: &Seen, fresh: &str) -> Decision {
    let ask = call.ask();
    let request = format!("{} {}", ask.path, ask.body);
    match &seen.saved {
        Some(saved) if saved.request == request => {
            let (status, body) = (saved.status, saved.body.clone().into_bytes());
            return only(Answer { status, retry_after: None, body });
        }
        Some(_) => {
            let message =
                "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            return only(refuses(400, json!({"type": "idempotency_error", "message": message})));
        }
        None => {}
    }
    let keep = call.key().map(|_| request);
    match seen.mode {
        Mode::Limits => {
            let error = json!({"type": "invalid_request_error", "code": "rate_limit", "message": "as it was told"});
            return only(Answer { retry_after: Some(RETRY_AFTER.into()), ..refuses(429, error) });
        }
        Mode::Fails => {
            let answer = refuses(500, json!({"type": "api_error", "message": "as it was told"}));
            return Decision { answer, change: Change::Nothing, keep };
        }
        Mode::Normal | Mode::Slow | Mode::Gone => {}
    }
    let (answer, change) = match call {
        Call::Create { charge, .. } => create(charge, fresh),
        Call::Confirm { .. } => on_intent(seen, confirm),
        Call::Cancel { .. } => on_intent(seen, cancel),
        Call::Look { .. } => on_intent(seen, |intent| (answers(&written(intent, intent.status)), Change::Nothing)),
        Call::Refund { .. } => on_intent(seen, |intent| refund(intent, seen.refund.is_some(), fresh)),
        Call::LookAtRefund { .. } => match &seen.refund {
            Some(entry) => on_intent(seen, |intent| look_at_refund(intent, entry)),
            None => (missing("refund"), Change::Nothing),
        },
        Call::ListRefunds { .. } => on_intent(seen, |intent| {
            let data: Vec<_> = seen.refund.iter().map(|entry| refund_object(intent, entry)).collect();
            (answers(&json!({"object": "list", "data": data, "has_more": false})), Change::Nothing)
        }),
    };
    // What fails validation is not kept: Stripe keeps what it began to carry out.
    let keep = keep.filter(|_| !matches!(answer.status, 400 | 404));
    Decision { answer, change, keep }
}

fn create(charge: &Charge, fresh: &str) -> (Answer, Change) {
    // Stripe looks at amount and currency before anything else. Payment has done so too, by the same table.
    if let Err(why) = Units::of(charge.money) {
        let error = match why {
            // As at Stripe, this one has no code.
            Unpayable::Currency => json!({"type": "invalid_request_error", "param": "currency", "message": "no"}),
            _ => json!({"type": "invalid_request_error", "code": why.reason(), "param": "amount", "message": "no"}),
        };
        return (refuses(400, error), Change::Nothing);
    }
    if card(&charge.payment_method) == Card::Unknown {
        let message = format!("No such PaymentMethod: '{}'", charge.payment_method);
        let error = json!({"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method", "message": message});
        return (refuses(400, error), Change::Nothing);
    }
    let reference = format!("sandbox_pi_{fresh}");
    let intent = Intent {
        reference: reference.clone(),
        money: charge.money,
        payment_method: charge.payment_method.clone(),
        status: IntentStatus::Unconfirmed,
    };
    (answers(&written(&intent, intent.status)), Change::Create { intent: reference, charge: charge.clone() })
}

fn confirm(intent: &Intent) -> (Answer, Change) {
    if intent.status != IntentStatus::Unconfirmed {
        return (unexpected_state(intent), Change::Nothing);
    }
    let reference = intent.reference.clone();
    match card(&intent.payment_method) {
        Card::Pays => {
            let object = written(intent, IntentStatus::Succeeded);
            (answers(&object), Change::Confirm { intent: reference, declined: None })
        }
        Card::Declined(code) => {
            let mut error = card_error(code);
            error["payment_intent"] = written(intent, IntentStatus::Declined);
            (refuses(402, error), Change::Confirm { intent: reference, declined: Some(code.into()) })
        }
        Card::Unknown => (missing("payment_method"), Change::Nothing),
    }
}

fn cancel(intent: &Intent) -> (Answer, Change) {
    match intent.status {
        IntentStatus::Succeeded | IntentStatus::Cancelled => (unexpected_state(intent), Change::Nothing),
        from => {
            let change = Change::Cancel { intent: intent.reference.clone(), from };
            (answers(&written(intent, IntentStatus::Cancelled)), change)
        }
    }
}

fn refund(intent: &Intent, refunded: bool, fresh: &str) -> (Answer, Change) {
    if intent.status != IntentStatus::Succeeded {
        return (unexpected_state(intent), Change::Nothing);
    }
    if refunded {
        let error = json!({"type": "invalid_request_error", "code": "charge_already_refunded", "message": "no"});
        return (refuses(400, error), Change::Nothing);
    }
    let status = match intent.payment_method.as_str() {
        PENDING_REFUND | PENDING_REFUND_FAILS => RefundStatus::Pending,
        _ => RefundStatus::Succeeded,
    };
    let entry = RefundEntry { reference: format!("sandbox_re_{fresh}"), status };
    let object = refund_object(intent, &entry);
    (answers(&object), Change::Refund { refund: entry.reference, intent: intent.reference.clone(), status })
}

/// A look moves a refund on, so that a test needs no patience.
fn look_at_refund(intent: &Intent, entry: &RefundEntry) -> (Answer, Change) {
    let to = match (intent.payment_method.as_str(), entry.status) {
        (PENDING_REFUND, RefundStatus::Pending) => RefundStatus::Succeeded,
        (PENDING_REFUND_FAILS, RefundStatus::Pending) | (REFUND_FAILS, RefundStatus::Succeeded) => RefundStatus::Failed,
        (_, status) => status,
    };
    let moved = RefundEntry { status: to, ..entry.clone() };
    let change = if to == entry.status {
        Change::Nothing
    } else {
        Change::MoveRefund { refund: entry.reference.clone(), from: entry.status, to }
    };
    (answers(&refund_object(intent, &moved)), change)
}

fn on_intent(seen: &Seen, act: impl FnOnce(&Intent) -> (Answer, Change)) -> (Answer, Change) {
    match &seen.intent {
        Some(intent) => act(intent),
        None => (missing("intent"), Change::Nothing),
    }
}

/// An intent as Stripe writes it.
fn written(intent: &Intent, status: IntentStatus) -> Value {
    let (amount, currency) = units(intent.money);
    let received = if status == IntentStatus::Succeeded { amount } else { 0 };
    let error = match card(&intent.payment_method) {
        Card::Declined(code) if status == IntentStatus::Declined => card_error(code),
        _ => Value::Null,
    };
    json!({
        "id": intent.reference, "object": "payment_intent", "status": status.as_str(), "amount": amount,
        "amount_received": received, "currency": currency, "last_payment_error": error,
    })
}

fn refund_object(intent: &Intent, entry: &RefundEntry) -> Value {
    let (amount, currency) = units(intent.money);
    let failure = (entry.status == RefundStatus::Failed).then_some("expired_or_canceled_card");
    json!({
        "id": entry.reference, "object": "refund", "status": entry.status.as_str(), "amount": amount,
        "currency": currency, "payment_intent": intent.reference, "failure_reason": failure,
    })
}

/// An intent is in the books only if it could be written in the provider's units.
fn units(money: Money) -> (i64, String) {
    Units::of(money).map_or((money.amount, money.currency.to_string()), |units| (units.amount, units.currency))
}

fn card_error(decline_code: &str) -> Value {
    // Stripe gives these as the error's code; the others come with `card_declined`.
    let own = ["expired_card", "incorrect_cvc", "incorrect_number", "processing_error", "authentication_required"];
    let code = if own.contains(&decline_code) { decline_code } else { "card_declined" };
    json!({"type": "card_error", "code": code, "decline_code": decline_code, "message": "Your card was declined."})
}

fn unexpected_state(intent: &Intent) -> Answer {
    let message = format!("This PaymentIntent has a status of {}.", intent.status.as_str());
    let object = written(intent, intent.status);
    let code = "payment_intent_unexpected_state";
    refuses(400, json!({"type": "invalid_request_error", "code": code, "message": message, "payment_intent": object}))
}

fn missing(what: &str) -> Answer {
    refuses(
        404,
        json!({"type": "invalid_request_error", "code": "resource_missing", "param": what, "message": "no such thing"}),
    )
}

/// 409: another call is at work under this key, or on this intent.
#[must_use]
pub fn in_use() -> Answer {
    refuses(409, json!({"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "try again"}))
}

fn only(answer: Answer) -> Decision {
    Decision { answer, change: Change::Nothing, keep: None }
}

fn answers(object: &Value) -> Answer {
    Answer { status: 200, retry_after: None, body: object.to_string().into_bytes() }
}

fn refuses(status: u16, error: Value) -> Answer {
    Answer { status, retry_after: None, body: json!({ "error": error }).to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
