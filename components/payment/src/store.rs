//! All SQL of the payment service, and the row that its decisions are made from.
//!
//! Each text is a constant: the relay prepares it once per connection, and a test prepares all of them against the
//! migrated schema.

use towpath_sdk::{Currency, Id, Money, RelayError, Rows, Time};

use crate::{
    domain::{Cancellation, Seen, Status},
    provider::Name,
};

/// A payment's columns.
macro_rules! select_payment {
    ($rest:literal) => {
        concat!(
            "SELECT id, order_id, status, amount, currency, reason, provider, provider_reference, created_at, updated_at
             FROM payments ",
            $rest
        )
    };
}

/// Every unit of work that decides about an order's payment begins with it, so that a charge and a cancellation run one
/// after the other: there may be no row yet that one could lock, and each must see what the other wrote.
pub const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 20))::text AS locked";

/// The columns that decisions depend on: always one row. Parameter: the order.
pub const SEEN: &str = "
SELECT p.id, p.status, p.amount, p.currency, p.payment_method, p.provider, p.provider_reference, p.created_at,
       c.reason AS cancelled
FROM (SELECT $1::uuid AS order_id) o
LEFT JOIN payments p ON p.order_id = o.order_id
LEFT JOIN cancellations c ON c.order_id = o.order_id";

/// Begins a payment, unless there is one or the order has ended.
///
/// Parameters: id, order, customer, amount, currency, payment method, provider.
pub const BEGIN: &str = "
INSERT INTO payments (id, order_id, customer_id, amount, currency, payment_method, provider)
SELECT $1::uuid, $2::uuid, $3::text, $4::bigint, $5::text, $6::text, $7::text
WHERE NOT EXISTS (SELECT FROM cancellations WHERE order_id = $2::uuid)
ON CONFLICT (order_id) DO NOTHING";

/// Records the provider's answer, if the payment and its order still are as they were read.
///
/// Parameters: id; new status, provider's reference, reason; the cancellation as seen.
pub const CHARGED: &str = "
UPDATE payments
SET status = $2, provider_reference = $3, reason = $4, updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = $1 AND status = 'pending'
  AND (SELECT c.reason FROM cancellations c WHERE c.order_id = payments.order_id) IS NOT DISTINCT FROM $5::text";

/// Opens the refund of a payment that was captured after its order ended. Parameters: refund's id, payment.
pub const OPEN_REFUND: &str = "
INSERT INTO refunds (id, payment_id, amount, currency, reason)
SELECT $1::uuid, id, amount, currency, reason FROM payments WHERE id = $2 AND status = 'refund_pending'";

/// Records that an order ended. Parameters: order, reason, event.
pub const CANCEL: &str = "
INSERT INTO cancellations (order_id, reason, event_id) VALUES ($1, $2, $3) ON CONFLICT (order_id) DO NOTHING";

/// Opens the refund of what was captured for it. Parameters: refund's id, order, reason.
pub const SEND_BACK: &str = "
WITH sent_back AS (
    UPDATE payments
    SET status = 'refund_pending', reason = $3, updated_at = greatest(clock_timestamp(), updated_at)
    WHERE order_id = $2 AND status = 'captured'
    RETURNING id, amount, currency, reason
)
INSERT INTO refunds (id, payment_id, amount, currency, reason)
SELECT $1::uuid, id, amount, currency, reason FROM sent_back";

/// Records the refund. Parameters: payment, provider's reference.
pub const REFUNDED: &str = "
WITH refunded AS (
    UPDATE payments
    SET status = 'refunded', updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = $1 AND status = 'refund_pending'
    RETURNING id, updated_at
)
UPDATE refunds r
SET status = 'succeeded', provider_reference = $2, updated_at = refunded.updated_at
FROM refunded WHERE r.payment_id = refunded.id AND r.status = 'pending'";

/// One payment.
pub const PAYMENT: &str = select_payment!("WHERE id = $1");

/// The payment of an order.
pub const PAYMENT_OF_ORDER: &str = select_payment!("WHERE order_id = $1");

/// The sandbox: the mode in which it is told to fail now. No row if it works.
pub const REFUSAL: &str = "SELECT mode FROM sandbox_behaviour WHERE until > now() AND mode IN ('gone', '500', '429')";

/// The sandbox's ledger: a charge, unless there is an entry under this key.
///
/// Parameters: key, reference, order, amount, currency, why it is declined.
pub const LEDGER_CHARGE: &str = "
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, declined)
VALUES ($1, 'charge', $2, $3, $4, $5, $6) ON CONFLICT (key) DO NOTHING";

/// The sandbox's ledger: a refund, unless there is an entry under this key.
///
/// Parameters: key, reference, the charge's reference.
pub const LEDGER_REFUND: &str = "
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, charge)
SELECT $1::text, 'refund', $2::text, order_id, amount, currency, reference
FROM sandbox_ledger WHERE reference = $3 AND kind = 'charge' AND declined IS NULL
ON CONFLICT (key) DO NOTHING";

/// The sandbox's ledger: the entry under a key, and whether its answer is delayed.
pub const LEDGER_ENTRY: &str = "
SELECT kind, reference, amount, currency, declined, charge,
       EXISTS (SELECT FROM sandbox_behaviour WHERE until > now() AND mode = 'slow') AS held_back
FROM sandbox_ledger WHERE key = $1";

/// Every text, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("LOCK", LOCK),
    ("SEEN", SEEN),
    ("BEGIN", BEGIN),
    ("CHARGED", CHARGED),
    ("OPEN_REFUND", OPEN_REFUND),
    ("CANCEL", CANCEL),
    ("SEND_BACK", SEND_BACK),
    ("REFUNDED", REFUNDED),
    ("PAYMENT", PAYMENT),
    ("PAYMENT_OF_ORDER", PAYMENT_OF_ORDER),
    ("REFUSAL", REFUSAL),
    ("LEDGER_CHARGE", LEDGER_CHARGE),
    ("LEDGER_REFUND", LEDGER_REFUND),
    ("LEDGER_ENTRY", LEDGER_ENTRY),
];

/// A payment's row, with what decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) amount: Money,
    pub(crate) payment_method: String,
    pub(crate) provider: Name,
    pub(crate) reference: Option<String>,
    pub(crate) since: Time,
    pub(crate) seen: Seen,
}

/// The payment's row, where there is one.
pub(crate) fn read_payment(rows: Option<&Rows>) -> Result<Option<Row>, RelayError> {
    let unknown = |what: &str, text: &str| RelayError::Malformed(format!("the {what} {text}"));
    let Some(row) = rows.and_then(Rows::first) else { return Err(unknown("order's state", "is missing")) };
    let Some(id) = row.get("id")? else { return Ok(None) };
    let status = row.get::<String>("status")?;
    let provider = row.get::<String>("provider")?;
    let cancelled = row.get::<Option<String>>("cancelled")?;
    let cancelled = cancelled.map(|text| Cancellation::parse(&text).ok_or_else(|| unknown("cancellation", &text)));
    Ok(Some(Row {
        id,
        amount: Money::new(row.get("amount")?, row.get::<Currency>("currency")?),
        payment_method: row.get("payment_method")?,
        provider: Name::parse(&provider).ok_or_else(|| unknown("provider", &provider))?,
        reference: row.get("provider_reference")?,
        since: row.get("created_at")?,
        seen: Seen {
            payment: Some(Status::parse(&status).ok_or_else(|| unknown("status", &status))?),
            cancelled: cancelled.transpose()?,
        },
    }))
}
