//! What the sandbox answers: pure, from its books alone. [`cards`] are the payment methods that it knows.

pub mod cards;

use serde_json::{Value, json};
use towpath_sdk::Money;

use crate::provider::{
    Answer, Charge,
    stripe::Call,
    units::{Units, Unpayable},
};
use cards::{Card, DISPUTED, PENDING_REFUND, PENDING_REFUND_FAILS, REFUND_FAILS, card};

/// The state of an intent, as Stripe names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// `requires_confirmation`
    Unconfirmed,
    /// `requires_action`
    Asks,
    /// `processing`
    Works,
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
            Self::Asks => "requires_action",
            Self::Works => "processing",
            Self::Succeeded => "succeeded",
            Self::Declined => "requires_payment_method",
            Self::Cancelled => "canceled",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Unconfirmed, Self::Asks, Self::Works, Self::Succeeded, Self::Declined, Self::Cancelled];
        all.into_iter().find(|status| status.as_str() == text)
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
    /// It asks every customer to authenticate.
    Asks,
    /// Every key is in use: another call is at work under it.
    InUse,
    /// A bank works on every refund.
    Refunds,
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
            Some("asks") => Self::Asks,
            Some("409") => Self::InUse,
            Some("refunds") => Self::Refunds,
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
    /// What its customer shows to authenticate, without its name.
    pub secret: String,
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
    /// An intent moves on.
    Move {
        /// The intent as seen, with the payment method that it has now.
        intent: Intent,
        /// Its new state.
        to: IntentStatus,
        /// Why it is declined, if it is.
        declined: Option<String>,
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
        Mode::InUse if keep.is_some() => return only(in_use()),
        Mode::Normal | Mode::Slow | Mode::Gone | Mode::Asks | Mode::InUse | Mode::Refunds => {}
    }
    let (answer, change) = match call {
        Call::Create { charge, .. } => create(charge, fresh),
        Call::Confirm { payment_method, .. } => on_intent(seen, |intent| confirm(intent, payment_method, seen.mode)),
        Call::Cancel { .. } => on_intent(seen, cancel),
        Call::Look { .. } => on_intent(seen, look),
        Call::Refund { .. } => on_intent(seen, |intent| refund(intent, seen, fresh)),
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
        return (no_such_method(&charge.payment_method), Change::Nothing);
    }
    let reference = format!("sandbox_pi_{fresh}");
    let intent = Intent {
        reference: reference.clone(),
        money: charge.money,
        payment_method: charge.payment_method.clone(),
        status: IntentStatus::Unconfirmed,
        secret: String::new(),
    };
    (answers(&written(&intent, intent.status)), Change::Create { intent: reference, charge: charge.clone() })
}

fn confirm(intent: &Intent, payment_method: &str, mode: Mode) -> (Answer, Change) {
    if !matches!(intent.status, IntentStatus::Unconfirmed | IntentStatus::Asks | IntentStatus::Declined) {
        return (unexpected_state(intent), Change::Nothing);
    }
    let intent = Intent { payment_method: payment_method.into(), ..intent.clone() };
    match card(payment_method) {
        Card::Pays | Card::Declined(_) if mode == Mode::Asks => moved(intent, IntentStatus::Asks, None),
        Card::Pays => moved(intent, IntentStatus::Succeeded, None),
        Card::Asks(_) => moved(intent, IntentStatus::Asks, None),
        Card::Works(_) => moved(intent, IntentStatus::Works, None),
        Card::Declined(code) => {
            let mut error = card_error(code);
            error["payment_intent"] = written(&intent, IntentStatus::Declined);
            let change =
                Change::Move { intent: intent.clone(), to: IntentStatus::Declined, declined: Some(code.into()) };
            (refuses(402, error), change)
        }
        Card::Unknown => (no_such_method(payment_method), Change::Nothing),
    }
}

/// A look moves an intent on that a bank works on, so that a test needs no patience.
fn look(intent: &Intent) -> (Answer, Change) {
    match (intent.status, card(&intent.payment_method)) {
        (IntentStatus::Works, Card::Works(Some(code))) => {
            moved(intent.clone(), IntentStatus::Declined, Some(code.to_owned()))
        }
        (IntentStatus::Works, _) => moved(intent.clone(), IntentStatus::Succeeded, None),
        _ => (answers(&written(intent, intent.status)), Change::Nothing),
    }
}

fn cancel(intent: &Intent) -> (Answer, Change) {
    match intent.status {
        IntentStatus::Succeeded | IntentStatus::Cancelled => (unexpected_state(intent), Change::Nothing),
        // The bank was first. Nobody looks in another way at the intent of an order that has ended.
        IntentStatus::Works => look(intent),
        _ => moved(intent.clone(), IntentStatus::Cancelled, None),
    }
}

fn moved(intent: Intent, to: IntentStatus, declined: Option<String>) -> (Answer, Change) {
    (answers(&written(&intent, to)), Change::Move { intent, to, declined })
}

/// How a customer's challenge ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The customer authenticates; the bank decides then.
    Succeeds,
    /// The customer doesn't.
    Fails,
}

/// What becomes of an intent when its customer's challenge ends, with the reason where it is declined; `None` where it
/// waits for no customer.
#[must_use]
pub fn after(intent: &Intent, outcome: Outcome) -> Option<(IntentStatus, Option<String>)> {
    if intent.status != IntentStatus::Asks {
        return None;
    }
    Some(match (outcome, card(&intent.payment_method)) {
        (Outcome::Succeeds, Card::Asks(Some(code)) | Card::Declined(code)) => {
            (IntentStatus::Declined, Some(code.to_owned()))
        }
        (Outcome::Succeeds, _) => (IntentStatus::Succeeded, None),
        (Outcome::Fails, _) => (IntentStatus::Declined, Some("authentication_failure".to_owned())),
    })
}

fn refund(intent: &Intent, seen: &Seen, fresh: &str) -> (Answer, Change) {
    if intent.status != IntentStatus::Succeeded {
        return (unexpected_state(intent), Change::Nothing);
    }
    if seen.refund.is_some() {
        let error = json!({"type": "invalid_request_error", "code": "charge_already_refunded", "message": "no"});
        return (refuses(400, error), Change::Nothing);
    }
    if intent.payment_method == DISPUTED {
        let error = json!({"type": "invalid_request_error", "code": "charge_disputed", "message": "no"});
        return (refuses(400, error), Change::Nothing);
    }
    let status = match intent.payment_method.as_str() {
        PENDING_REFUND | PENDING_REFUND_FAILS => RefundStatus::Pending,
        _ if seen.mode == Mode::Refunds => RefundStatus::Pending,
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
        Card::Declined(code) | Card::Works(Some(code)) | Card::Asks(Some(code)) if status == IntentStatus::Declined => {
            card_error(code)
        }
        Card::Asks(None) if status == IntentStatus::Declined => {
            let code = "payment_intent_authentication_failure";
            json!({"type": "invalid_request_error", "code": code, "message": "The customer failed to authenticate."})
        }
        _ => Value::Null,
    };
    let secret = format!("{}_secret_{}", intent.reference, intent.secret);
    json!({
        "id": intent.reference, "object": "payment_intent", "status": status.as_str(), "amount": amount,
        "amount_received": received, "currency": currency, "last_payment_error": error,
        "client_secret": secret,
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

fn no_such_method(name: &str) -> Answer {
    let message = format!("No such PaymentMethod: '{name}'");
    let error = json!({"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method", "message": message});
    refuses(400, error)
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
