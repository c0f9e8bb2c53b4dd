//! What Stripe's refusals mean: every decline code and every error of a card payment that Stripe documents.
//!
//! Sources: [decline codes](https://docs.stripe.com/declines/codes), [error
//! codes](https://docs.stripe.com/error-codes), [error types and statuses](https://docs.stripe.com/api/errors),
//! [idempotent requests](https://docs.stripe.com/api/idempotent_requests).
//!
//! The rule is total: a code that is not in a table is decided by its type and status, so that a new one of Stripe's
//! neither confirms an order nor loses one.

use serde::Deserialize;
use serde_json::Value;

use super::units::Unpayable;

/// Stripe's error object.
#[derive(Default, Deserialize)]
pub struct Fault {
    /// Such as `card_error`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Such as `card_declined`.
    #[serde(default)]
    pub code: Option<String>,
    /// What the bank said, such as `insufficient_funds`.
    #[serde(default)]
    pub decline_code: Option<String>,
    /// For a person.
    #[serde(default)]
    pub message: Option<String>,
    /// The parameter that is wrong.
    #[serde(default)]
    pub param: Option<String>,
    /// The intent that it is about.
    #[serde(default)]
    pub payment_intent: Option<Value>,
}

impl Fault {
    /// For the log.
    pub(super) fn describe(&self, status: u16) -> String {
        let code = self.code.as_deref().unwrap_or("no code");
        format!("{status} {} ({code}): {}", self.kind, self.message.as_deref().unwrap_or_default())
    }
}

/// What a customer can do about a declined payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// No payment method pays this: the provider takes no such amount or currency.
    Never,
    /// This payment method won't pay this: take another one.
    Final,
    /// The customer can mend it: other details, the bank, an authentication.
    AskCustomer,
    /// The same payment method may pay in a while.
    TryLater,
}

impl Advice {
    /// Its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Final => "final",
            Self::AskCustomer => "ask_customer",
            Self::TryLater => "try_later",
        }
    }
}

/// A declined payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// What the customer may know: a code such as `insufficient_funds`.
    pub reason: String,
    /// The provider's own word, for us alone: Stripe asks not to tell a customer that a card is reported stolen.
    pub provider_code: Option<String>,
}

/// What follows from a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The payment is declined.
    Declined(Decline),
    /// Nothing happened, or the same call is under way: the same call can succeed later.
    Later,
    /// The provider keeps this answer under the call's idempotency key. Only another key can have another answer, once it
    /// is known that this call did nothing.
    Spent,
    /// A person has to look at it.
    OurFault,
}

/// The reason that tells nothing.
pub const DECLINED: &str = "card_declined";

use Advice::{AskCustomer, Final, Never, TryLater};

/// Stripe's decline codes: the code, what the customer can do, and what the customer may know.
///
/// None of these reasons is one of [`Unpayable`]: another card may pay.
///
/// Stripe asks to present `fraudulent`, `lost_card`, `merchant_blacklist` and `stolen_card` as a generic decline, and says
/// of `pickup_card` and `restricted_card` that the card may be lost or stolen.
pub const DECLINES: &[(&str, Advice, &str)] = &[
    ("approve_with_id", TryLater, "approve_with_id"),
    ("authentication_not_handled", AskCustomer, "authentication_required"),
    ("authentication_required", AskCustomer, "authentication_required"),
    ("call_issuer", AskCustomer, "call_issuer"),
    ("card_declined", AskCustomer, DECLINED),
    ("card_not_supported", Final, "card_not_supported"),
    ("card_velocity_exceeded", AskCustomer, "card_velocity_exceeded"),
    ("compliance_violation", Final, DECLINED),
    ("currency_not_supported", Final, "card_currency_not_supported"),
    ("do_not_honor", AskCustomer, "do_not_honor"),
    ("do_not_try_again", Final, "do_not_try_again"),
    ("duplicate_transaction", AskCustomer, "duplicate_transaction"),
    ("expired_card", Final, "expired_card"),
    ("expired_payment_information", AskCustomer, "expired_payment_information"),
    ("fraudulent", Final, DECLINED),
    ("generic_decline", AskCustomer, DECLINED),
    ("incorrect_address", AskCustomer, "incorrect_address"),
    ("incorrect_cvc", AskCustomer, "incorrect_cvc"),
    ("incorrect_number", AskCustomer, "incorrect_number"),
    ("incorrect_pin", AskCustomer, "incorrect_pin"),
    ("incorrect_zip", AskCustomer, "incorrect_zip"),
    ("insufficient_funds", AskCustomer, "insufficient_funds"),
    ("invalid_account", AskCustomer, "invalid_account"),
    ("invalid_amount", AskCustomer, "invalid_amount"),
    ("invalid_authorization", Final, "invalid_authorization"),
    ("invalid_billing_agreement", Final, "invalid_billing_agreement"),
    ("invalid_customer_account", AskCustomer, "invalid_customer_account"),
    ("invalid_cvc", AskCustomer, "invalid_cvc"),
    ("invalid_expiry_month", AskCustomer, "invalid_expiry_month"),
    ("invalid_expiry_year", AskCustomer, "invalid_expiry_year"),
    ("invalid_number", AskCustomer, "invalid_number"),
    ("invalid_payment_information", Final, "invalid_payment_information"),
    ("invalid_pin", AskCustomer, "invalid_pin"),
    ("issuer_not_available", TryLater, "issuer_not_available"),
    ("lost_card", Final, DECLINED),
    ("merchant_blacklist", Final, DECLINED),
    ("mobile_device_authentication_required", AskCustomer, "authentication_required"),
    ("new_account_information_available", AskCustomer, "new_account_information_available"),
    ("no_action_taken", AskCustomer, "no_action_taken"),
    ("not_permitted", AskCustomer, "not_permitted"),
    ("offline_pin_required", AskCustomer, "pin_required"),
    ("online_or_offline_pin_required", AskCustomer, "pin_required"),
    ("partner_generic_decline", AskCustomer, DECLINED),
    ("partner_high_risk_customer", Final, DECLINED),
    ("partner_payment_not_found", Final, DECLINED),
    ("payment_disputed", Final, DECLINED),
    ("payment_limit_exceeded", AskCustomer, "payment_limit_exceeded"),
    ("pickup_card", Final, DECLINED),
    ("pin_try_exceeded", Final, "pin_try_exceeded"),
    ("processing_error", TryLater, "processing_error"),
    ("reenter_transaction", TryLater, "reenter_transaction"),
    ("restricted_card", Final, DECLINED),
    ("revocation_of_all_authorizations", Final, "revocation_of_authorization"),
    ("revocation_of_authorization", Final, "revocation_of_authorization"),
    ("security_violation", AskCustomer, "security_violation"),
    ("service_not_allowed", AskCustomer, "service_not_allowed"),
    ("stolen_card", Final, DECLINED),
    ("stop_payment_order", Final, "stop_payment_order"),
    ("testmode_decline", Final, "testmode_decline"),
    ("transaction_not_allowed", AskCustomer, "transaction_not_allowed"),
    ("try_again_later", TryLater, "try_again_later"),
    ("withdrawal_count_limit_exceeded", AskCustomer, "withdrawal_count_limit_exceeded"),
];

/// What an error code means that is no decline code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The payment is declined, with this advice, and this reason for the customer.
    Declined(Advice, &'static str),
    /// See [`Verdict::Later`].
    Later,
    /// See [`Verdict::Spent`].
    Spent,
    /// See [`Verdict::OurFault`].
    OurFault,
}

/// Stripe's error codes of the calls that payment makes, without those that are decline codes too.
pub const CODES: &[(&str, Means)] = &[
    ("account_closed", Means::Declined(Final, "account_closed")),
    ("account_invalid", Means::OurFault),
    ("amount_too_large", Means::Declined(Never, "amount_too_large")),
    ("amount_too_small", Means::Declined(Never, "amount_too_small")),
    ("api_key_expired", Means::Later),
    // Our balance at Stripe is too low for a refund. It goes through once somebody tops it up.
    ("balance_insufficient", Means::Spent),
    ("bank_account_declined", Means::Declined(AskCustomer, DECLINED)),
    ("bank_account_restricted", Means::Declined(Final, "invalid_account")),
    ("bank_account_unusable", Means::Declined(Final, "invalid_account")),
    ("card_decline_rate_limit_exceeded", Means::Declined(TryLater, "card_decline_rate_limit_exceeded")),
    ("charge_already_refunded", Means::Spent),
    ("charge_disputed", Means::OurFault),
    ("charge_exceeds_source_limit", Means::Declined(TryLater, "charge_exceeds_source_limit")),
    ("charge_exceeds_transaction_limit", Means::Declined(Final, "charge_exceeds_transaction_limit")),
    ("charge_not_refundable", Means::OurFault),
    ("country_unsupported", Means::Declined(Final, "country_unsupported")),
    ("debit_not_authorized", Means::Declined(AskCustomer, "debit_not_authorized")),
    ("idempotency_key_in_use", Means::Later),
    ("instant_payouts_unsupported", Means::OurFault),
    ("invalid_business_account", Means::OurFault),
    ("invalid_card_type", Means::Declined(Final, "card_not_supported")),
    ("invalid_charge_amount", Means::Declined(Final, "invalid_amount")),
    ("livemode_mismatch", Means::OurFault),
    ("lock_timeout", Means::Later),
    ("no_account", Means::Declined(AskCustomer, "invalid_account")),
    ("parameter_invalid_empty", Means::OurFault),
    ("parameter_invalid_integer", Means::OurFault),
    ("parameter_invalid_string_blank", Means::OurFault),
    ("parameter_invalid_string_empty", Means::OurFault),
    ("parameter_missing", Means::OurFault),
    ("parameter_unknown", Means::OurFault),
    ("parameters_exclusive", Means::OurFault),
    ("payment_intent_action_required", Means::Declined(AskCustomer, "authentication_required")),
    ("payment_intent_authentication_failure", Means::Declined(AskCustomer, "authentication_required")),
    ("payment_intent_incompatible_payment_method", Means::Declined(Final, "invalid_payment_method")),
    ("payment_intent_invalid_parameter", Means::OurFault),
    ("payment_intent_mandate_invalid", Means::Declined(AskCustomer, "invalid_payment_method")),
    ("payment_intent_payment_attempt_expired", Means::Declined(AskCustomer, "payment_attempt_expired")),
    ("payment_intent_payment_attempt_failed", Means::Declined(AskCustomer, DECLINED)),
    // The intent isn't where the call needs it: the look-up tells where it is.
    ("payment_intent_unexpected_state", Means::Spent),
    ("payment_method_billing_details_address_missing", Means::Declined(AskCustomer, "invalid_payment_method")),
    ("payment_method_currency_mismatch", Means::Declined(Final, "card_currency_not_supported")),
    ("payment_method_customer_decline", Means::Declined(AskCustomer, "declined_by_customer")),
    ("payment_method_invalid_parameter", Means::Declined(AskCustomer, "invalid_payment_method")),
    ("payment_method_invalid_parameter_testmode", Means::Declined(Final, "testmode_decline")),
    ("payment_method_not_available", Means::Declined(TryLater, "payment_method_not_available")),
    ("payment_method_provider_decline", Means::Declined(AskCustomer, DECLINED)),
    ("payment_method_provider_timeout", Means::Declined(TryLater, "payment_method_not_available")),
    ("payment_method_unactivated", Means::OurFault),
    ("payment_method_unexpected_state", Means::Declined(AskCustomer, "invalid_payment_method")),
    ("payment_method_unsupported_type", Means::Declined(Final, "invalid_payment_method")),
    ("platform_account_required", Means::OurFault),
    ("platform_api_key_expired", Means::Later),
    ("postal_code_invalid", Means::Declined(AskCustomer, "incorrect_zip")),
    ("rate_limit", Means::Later),
    ("refund_disputed_payment", Means::OurFault),
    ("secret_key_required", Means::Later),
    ("state_unsupported", Means::Declined(Final, "country_unsupported")),
    ("testmode_charges_only", Means::OurFault),
    ("tls_version_unsupported", Means::OurFault),
    ("token_already_used", Means::Declined(AskCustomer, "invalid_payment_method")),
    ("token_card_network_invalid", Means::Declined(AskCustomer, "card_not_supported")),
    ("token_in_use", Means::Later),
];

/// Codes by which Stripe refuses a refund for good. Where the charge is refunded already, by a call whose key Stripe has
/// forgotten, a look-up finds the refund; somebody else may have given it back in parts.
pub const REFUSED_REFUNDS: &[&str] =
    &["charge_already_refunded", "charge_disputed", "charge_not_refundable", "refund_disputed_payment"];

/// What a refusal means: by its status, and what it says.
#[must_use]
pub fn verdict(status: u16, fault: &Fault) -> Verdict {
    let code = fault.code.as_deref();
    match (status, fault.kind.as_str()) {
        // Another body came under this key, as from another release: what was done under it, the look-up tells.
        (_, "idempotency_error") if status != 409 => return Verdict::Spent,
        (402, _) | (_, "card_error") => return by_bank(fault),
        _ => {}
    }
    if let Some(means) = code.and_then(|code| CODES.iter().find(|(known, _)| *known == code)) {
        return means.1.verdict(code);
    }
    match (status, fault.param.as_deref()) {
        // A bank's word, in an error of another type than the bank's.
        (400 | 404, _) if code.is_some_and(|code| DECLINES.iter().any(|(known, ..)| *known == code)) => by_bank(fault),
        (400 | 404, Some("payment_method")) => declined("invalid_payment_method", code),
        (400, Some("currency")) => declined("currency_not_supported", code),
        (400, Some("amount")) => declined("invalid_amount", code),
        // Who calls too early is told to wait; a wrong API key keeps payments waiting until it is corrected.
        (401 | 403 | 408 | 409 | 425 | 429, _) => Verdict::Later,
        // Stripe keeps these under the key, like every answer of a call that it began.
        (424 | 500.., _) => Verdict::Spent,
        _ if fault.kind == "api_error" => Verdict::Spent,
        _ => Verdict::OurFault,
    }
}

impl Means {
    fn verdict(self, code: Option<&str>) -> Verdict {
        match self {
            Self::Declined(_, reason) => declined(reason, code),
            Self::Later => Verdict::Later,
            Self::Spent => Verdict::Spent,
            Self::OurFault => Verdict::OurFault,
        }
    }
}

/// The bank, or Stripe for it, declined the card.
fn by_bank(fault: &Fault) -> Verdict {
    let code = fault.code.as_deref();
    let telling = fault.decline_code.as_deref().or(code);
    if let Some((_, _, reason)) = telling.and_then(|code| DECLINES.iter().find(|(known, ..)| *known == code)) {
        return declined(reason, telling);
    }
    match code.and_then(|code| CODES.iter().find(|(known, _)| *known == code)) {
        Some((_, means)) => means.verdict(telling),
        None => declined(DECLINED, telling),
    }
}

fn declined(reason: &str, provider_code: Option<&str>) -> Verdict {
    Verdict::Declined(Decline { reason: reason.into(), provider_code: provider_code.map(Into::into) })
}

/// What a customer can do about a payment that was declined for this reason.
#[must_use]
pub fn advice(reason: &str) -> Advice {
    if Unpayable::ALL.iter().any(|why| why.reason() == reason) {
        return Never;
    }
    let of_bank = DECLINES.iter().filter(|(_, _, known)| *known == reason).map(|(_, advice, _)| *advice);
    let of_code = CODES.iter().filter_map(|(_, means)| match means {
        Means::Declined(advice, known) if *known == reason => Some(*advice),
        _ => None,
    });
    // One reason stands for several codes: the advice is the one that fits all of them.
    match of_bank.chain(of_code).collect::<Vec<_>>().as_slice() {
        [first, rest @ ..] if rest.iter().all(|advice| advice == first) => *first,
        _ => AskCustomer,
    }
}

#[cfg(test)]
mod tests;
