//! What a person has to see to, said where a person reads it: in the component's log, once it is recorded.

use serde_json::json;
use towpath_sdk::{Id, log};

/// A payment that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) order_id: Id,
    pub(crate) payment_id: Id,
    pub(crate) reason: String,
    pub(crate) cause: String,
}

impl Person {
    /// Says it. The payment says it too, and the audit.
    pub(crate) fn tell(&self) {
        let Self { order_id, payment_id, reason, cause } = self;
        log(
            &json!({"level": "error", "order_id": order_id, "payment_id": payment_id, "reason": reason, "cause": cause,
                "message": "a payment needs a person: docs/payments.md says what to do"}),
        );
    }
}
