//! Payment methods that the sandbox knows, and what becomes of each.

use crate::provider::outcomes::DECLINES;

/// Payment methods that can be charged. Stripe's [test names](https://docs.stripe.com/testing).
pub(super) const PAYING: &[&str] = &[
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
    "pm_card_threeDSecureOptional",
    PENDING_REFUND,
    REFUND_FAILS,
    PENDING_REFUND_FAILS,
    DISPUTED,
];

/// A refund of it is pending first, and succeeds then.
pub(super) const PENDING_REFUND: &str = "pm_card_pendingRefund";
/// A refund of it succeeds first, and fails then.
pub(super) const REFUND_FAILS: &str = "pm_card_refundFail";
/// A refund of it is pending first, and fails then. Stripe has no such name.
pub(super) const PENDING_REFUND_FAILS: &str = "pm_sandbox_pendingRefundFail";

/// It pays, and its holder disputes the charge: a refund of it is refused.
pub(super) const DISPUTED: &str = "pm_card_createDispute";

/// Payment methods that are declined, with Stripe's decline code. Stripe has most of them with and without `visa_`.
pub(super) const DECLINED: &[(&str, &str)] = &[
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
];

/// Payment methods whose customer has to authenticate, with what the bank says then: pays, or Stripe's decline code.
pub(super) const ASKING: &[(&str, Option<&str>)] = &[
    ("pm_card_authenticationRequired", None),
    ("pm_card_authenticationRequiredOnSetup", None),
    ("pm_card_authenticationRequiredSetupForOffSession", None),
    ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", Some("insufficient_funds")),
    ("pm_card_threeDSecure2Required", None),
    ("pm_card_threeDSecureRequired", None),
    ("pm_card_threeDSecureRequiredChargeDeclined", Some("generic_decline")),
];

/// A bank works on it first; when it is looked at, it has paid. Stripe has such names for other methods than cards.
pub(super) const PROCESSING: &str = "pm_sandbox_processing";
/// The same, and when it is looked at, it has failed.
pub(super) const PROCESSING_FAILS: &str = "pm_sandbox_processingFail";

/// A name of the sandbox's own, since Stripe has test names for few decline codes: this and a decline code.
pub(super) const DECLINED_WITH: &str = "pm_sandbox_decline_";

/// What becomes of a payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card<'a> {
    /// It pays.
    Pays,
    /// It is declined with this code.
    Declined(&'a str),
    /// The customer has to authenticate; then it pays, or is declined with this code.
    Asks(Option<&'a str>),
    /// A bank works on it; then it pays, or is declined with this code.
    Works(Option<&'a str>),
    /// There is no such payment method.
    Unknown,
}

/// What becomes of a payment method.
#[must_use]
pub fn card(payment_method: &str) -> Card<'_> {
    if PAYING.contains(&payment_method) {
        return Card::Pays;
    }
    if let Some((_, then)) = ASKING.iter().find(|(name, _)| *name == payment_method) {
        return Card::Asks(*then);
    }
    match payment_method {
        PROCESSING => return Card::Works(None),
        PROCESSING_FAILS => return Card::Works(Some("generic_decline")),
        _ => {}
    }
    let own = payment_method.strip_prefix(DECLINED_WITH);
    if let Some(code) = own.filter(|code| DECLINES.iter().any(|(known, ..)| known == code)) {
        return Card::Declined(code);
    }
    let short = payment_method.replacen("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", 1);
    DECLINED.iter().find(|(name, _)| *name == short).map_or(Card::Unknown, |(_, code)| Card::Declined(code))
}
