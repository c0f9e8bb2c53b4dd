//! All SQL of the payment service but that of the sandbox, and the row that its decisions are made from.
//!
//! Each text is a constant: the relay prepares it once per connection, and a test prepares all of them against the
//! migrated schema.

use towpath_sdk::{Currency, Id, Money, RelayError, Rows, relay};

use crate::{
    domain::{Cancellation, Seen, Status},
    provider::Name,
};

/// A payment's columns.
macro_rules! select_payment {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, p.order_id, p.status, p.amount, p.currency, p.reason, p.provider, p.provider_reference,
                    p.created_at, p.updated_at,
                    coalesce((SELECT jsonb_agg(jsonb_build_object(
                                  'kind', c.kind, 'reference', c.reference, 'status', c.status, 'reason', c.reason)
                                  ORDER BY c.opened_at, c.reference)
                              FROM provider_cases c WHERE c.payment_id = p.id), '[]'::jsonb) AS cases
             FROM payments p ",
            $rest
        )
    };
}

/// Every unit of work that decides about an order's payment begins with it, so that a charge and a cancellation run one
/// after the other: there may be no row yet that one could lock, and each must see what the other wrote.
pub const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, 20))::text AS locked";

/// The columns that decisions depend on: always one row. Parameter: the order.
pub const SEEN: &str = "
SELECT p.id, p.status, p.reason, p.amount, p.currency, p.payment_method, p.provider, p.provider_reference, p.attempt,
       p.retries, p.intent_closed, c.reason AS cancelled, r.provider_reference AS refund_reference, r.attempt AS refund_attempt
FROM (SELECT $1::uuid AS order_id) o
LEFT JOIN payments p ON p.order_id = o.order_id
LEFT JOIN cancellations c ON c.order_id = o.order_id
LEFT JOIN refunds r ON r.payment_id = p.id";

/// Begins a payment, unless there is one or the order has ended.
///
/// Parameters: id, order, customer, amount, currency, payment method, provider.
pub const BEGIN: &str = "
INSERT INTO payments (id, order_id, customer_id, amount, currency, payment_method, provider)
SELECT $1::uuid, $2::uuid, $3::text, $4::bigint, $5::text, $6::text, $7::text
WHERE NOT EXISTS (SELECT FROM cancellations WHERE order_id = $2::uuid)
ON CONFLICT (order_id) DO NOTHING";

/// Keeps the provider's intent, before it is confirmed. Parameters: id, provider's reference.
pub const CREATED: &str = "
UPDATE payments SET provider_reference = $2, updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = $1 AND status = 'pending' AND provider_reference IS NULL";

/// Raises the attempt of a pending payment: the provider keeps a failure under the key of this one. Parameters: id; the
/// attempt as seen.
pub const RAISE: &str = "
UPDATE payments SET attempt = attempt + 1, updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = $1 AND status = 'pending' AND attempt = $2";

/// Raises the attempt of a refund that the provider hasn't taken. Parameters: payment; the attempt as seen.
pub const RAISE_REFUND: &str = "
UPDATE refunds SET attempt = attempt + 1, updated_at = greatest(clock_timestamp(), updated_at)
WHERE payment_id = $1 AND status = 'pending' AND provider_reference IS NULL AND attempt = $2";

/// Records the provider's answer, if the payment and its order still are as they were read.
///
/// Parameters: id; new status, provider's reference, reason, provider's code; cancellation, reference, status and attempt as
/// seen; seconds until the provider is asked, or null.
pub const CHARGED: &str = "
UPDATE payments
SET status = $2, provider_reference = $3, reason = $4, provider_code = $5,
    asked = 0, ask_at = clock_timestamp() + $10::bigint * interval '1 second',
    updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = $1 AND status = $8 AND attempt = $9
  AND (SELECT c.reason FROM cancellations c WHERE c.order_id = payments.order_id) IS NOT DISTINCT FROM $6::text
  AND provider_reference IS NOT DISTINCT FROM $7::text";

/// Whether a payment still is as it was read, until the unit of work ends: one row then. Parameters: id; status and attempt as
/// seen.
pub const STANDS: &str = "SELECT id FROM payments WHERE id = $1 AND status = $2 AND attempt = $3 FOR UPDATE";

/// The customer takes another payment method: the next attempt begins, unless the order has ended. It charges the same intent,
/// which is charged once at most, and a new one only where that one is cancelled, and so never charged.
///
/// Parameters: order, payment method, the reason of a payment whose intent is cancelled.
pub const RETRY: &str = "
UPDATE payments
SET status = 'pending', payment_method = $2, attempt = attempt + 1, retries = retries + 1,
    provider_reference = CASE WHEN reason IS DISTINCT FROM $3::text THEN provider_reference END,
    reason = NULL, provider_code = NULL, asked = 0, ask_at = NULL, updated_at = greatest(clock_timestamp(), updated_at)
WHERE order_id = $1 AND status IN ('requires_action', 'declined') AND NOT intent_closed
  AND NOT EXISTS (SELECT FROM cancellations c WHERE c.order_id = payments.order_id)";

/// Records that the intent of a declined payment is cancelled. Parameter: id.
pub const INTENT_CLOSED: &str = "
UPDATE payments SET intent_closed = true, ask_at = NULL, updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = $1 AND status = 'declined'";

/// Makes the question about a payment due, where it waits at the provider or was declined. Parameter: the intent.
pub const PAYMENT_IS_DUE: &str = "
UPDATE payments SET ask_at = clock_timestamp()
WHERE provider_reference = $1 AND status IN ('requires_action', 'processing', 'declined') AND NOT intent_closed";

/// Payments that the provider is to be asked about, the longest due first. Parameter: how many at most.
pub const PAYMENTS_TO_ASK: &str = "
SELECT id, order_id, provider, asked, ask_at AS due FROM payments
WHERE ask_at <= clock_timestamp()
ORDER BY ask_at
LIMIT $1";

/// As [`ASKED`], of a payment. One that was declined is asked about after a webhook alone.
pub const PAYMENT_ASKED: &str = "
UPDATE payments
SET asked = $3,
    ask_at = CASE WHEN status <> 'declined' THEN clock_timestamp() + $4::bigint * interval '1 second' END
WHERE id = $1 AND ask_at = $2::timestamptz";

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

/// Records that the provider has taken a refund, and when to ask what became of it. Parameters: payment, provider's
/// reference, seconds until then.
pub const REFUND_TAKEN: &str = "
UPDATE refunds
SET provider_reference = $2, asked = 0, ask_at = clock_timestamp() + $3::bigint * interval '1 second',
    updated_at = greatest(clock_timestamp(), updated_at)
WHERE payment_id = $1 AND status = 'pending' AND provider_reference IS NULL";

/// Records that the money is back, and when to ask whether it stays so. Parameters: payment, provider's reference, seconds
/// until then.
pub const REFUNDED: &str = "
WITH refunded AS (
    UPDATE payments
    SET status = 'refunded', updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = $1 AND status = 'refund_pending'
    RETURNING id, updated_at
)
UPDATE refunds r
SET status = 'succeeded', provider_reference = $2, asked = 0,
    ask_at = clock_timestamp() + $3::bigint * interval '1 second', updated_at = refunded.updated_at
FROM refunded WHERE r.payment_id = refunded.id AND r.status = 'pending'";

/// Records that a refund failed, now or after it had succeeded: a person has to look at it. Parameters: payment; provider's
/// reference, or null where the provider never took it; provider's code, reason.
pub const REFUND_LOST: &str = "
WITH lost AS (
    UPDATE payments
    SET status = 'needs_attention', reason = $4, provider_code = $3,
        updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = $1 AND status IN ('refund_pending', 'refunded')
    RETURNING id, updated_at
)
UPDATE refunds r
SET status = 'failed', provider_reference = coalesce($2, r.provider_reference), provider_code = $3, ask_at = NULL, updated_at = lost.updated_at
FROM lost WHERE r.payment_id = lost.id AND r.status IN ('pending', 'succeeded')";

/// Refunds that the provider is to be asked about, the longest due first. Parameter: how many at most.
pub const REFUNDS_TO_ASK: &str = "
SELECT p.order_id, p.id, p.status, p.amount, p.currency, p.provider, r.provider_reference, r.asked, r.ask_at AS due
FROM refunds r JOIN payments p ON p.id = r.payment_id
WHERE r.ask_at <= now()
ORDER BY r.ask_at
LIMIT $1";

/// Notes that the provider was asked about a refund whose status stays, unless a webhook came meanwhile: then it is asked
/// again. Parameters: payment; when the question was due, as seen; how often it was asked now; seconds until it is asked
/// again, or null for never.
pub const ASKED: &str = "
UPDATE refunds SET asked = $3, ask_at = clock_timestamp() + $4::bigint * interval '1 second'
WHERE payment_id = $1 AND ask_at = $2::timestamptz";

/// Makes the question about a refund due, where the provider has taken it. Parameter: the intent.
pub const REFUND_IS_DUE: &str = "
UPDATE refunds r SET ask_at = clock_timestamp()
FROM payments p
WHERE p.id = r.payment_id AND p.provider_reference = $1
  AND r.provider_reference IS NOT NULL AND r.status <> 'failed'";

/// Records that money went back which this service didn't send, and returns the payment.
///
/// Parameters: intent, charge, amount and currency as the provider writes them, when it said so.
pub const REFUNDED_ELSEWHERE: &str = "
WITH told AS (
    INSERT INTO provider_cases AS c (reference, payment_id, kind, status, amount, currency, closed, said_at)
    SELECT $2::text, p.id, 'refunded_elsewhere', 'refunded', $3::bigint, $4::text, false, to_timestamp($5::bigint)
    FROM payments p
    WHERE p.provider_reference = $1 AND p.status = 'captured'
    ON CONFLICT (reference) DO UPDATE SET amount = excluded.amount, said_at = excluded.said_at
    WHERE NOT c.closed AND c.amount < excluded.amount
    RETURNING payment_id
)
SELECT p.id, p.order_id FROM told JOIN payments p ON p.id = told.payment_id";

/// Records what the provider says of a dispute, unless it said something newer, and returns the payment. Of what it said in one
/// second the further status counts: a review comes after a response.
///
/// Parameters: intent; dispute, status, reason, amount, currency, whether it is closed, when it was said.
pub const DISPUTED: &str = "
WITH told AS (
    INSERT INTO provider_cases AS c (reference, payment_id, kind, status, reason, amount, currency, closed, said_at)
    SELECT $2::text, p.id, 'dispute', $3::text, $4::text, $5::bigint, $6::text, $7::boolean, to_timestamp($8::bigint)
    FROM payments p WHERE p.provider_reference = $1
    ON CONFLICT (reference) DO UPDATE
    SET status = excluded.status, reason = excluded.reason, amount = excluded.amount, currency = excluded.currency,
        closed = excluded.closed, said_at = excluded.said_at
    WHERE (c.closed, c.said_at, c.status LIKE '%under_review')
          <= (excluded.closed, excluded.said_at, excluded.status LIKE '%under_review')
    RETURNING payment_id
)
SELECT p.id, p.order_id FROM told JOIN payments p ON p.id = told.payment_id";

/// Counts a webhook that payment has no use for. Parameters: provider, type.
pub const UNUSED: &str = "
INSERT INTO unused_webhooks AS u (provider, type, count, last_at) VALUES ($1, $2, 1, clock_timestamp())
ON CONFLICT (provider, type) DO UPDATE SET count = u.count + 1, last_at = excluded.last_at";

/// One payment. Parameters: id; whose, or null for anybody's.
pub const PAYMENT: &str = select_payment!("WHERE p.id = $1 AND ($2::text IS NULL OR p.customer_id = $2)");

/// The payment of an order. Parameters: the order; whose, or null for anybody's.
pub const PAYMENT_OF_ORDER: &str =
    select_payment!("WHERE p.order_id = $1 AND ($2::text IS NULL OR p.customer_id = $2)");

/// Every text, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("LOCK", LOCK),
    ("SEEN", SEEN),
    ("BEGIN", BEGIN),
    ("CREATED", CREATED),
    ("RAISE", RAISE),
    ("RAISE_REFUND", RAISE_REFUND),
    ("CHARGED", CHARGED),
    ("STANDS", STANDS),
    ("RETRY", RETRY),
    ("INTENT_CLOSED", INTENT_CLOSED),
    ("PAYMENT_IS_DUE", PAYMENT_IS_DUE),
    ("PAYMENTS_TO_ASK", PAYMENTS_TO_ASK),
    ("PAYMENT_ASKED", PAYMENT_ASKED),
    ("OPEN_REFUND", OPEN_REFUND),
    ("CANCEL", CANCEL),
    ("SEND_BACK", SEND_BACK),
    ("REFUND_TAKEN", REFUND_TAKEN),
    ("REFUNDED", REFUNDED),
    ("REFUND_LOST", REFUND_LOST),
    ("REFUNDS_TO_ASK", REFUNDS_TO_ASK),
    ("ASKED", ASKED),
    ("REFUND_IS_DUE", REFUND_IS_DUE),
    ("REFUNDED_ELSEWHERE", REFUNDED_ELSEWHERE),
    ("DISPUTED", DISPUTED),
    ("UNUSED", UNUSED),
    ("PAYMENT", PAYMENT),
    ("PAYMENT_OF_ORDER", PAYMENT_OF_ORDER),
];

/// A payment's row, with what decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) amount: Money,
    pub(crate) payment_method: String,
    pub(crate) provider: Name,
    pub(crate) reference: Option<String>,
    /// Why it is declined, if it is.
    pub(crate) reason: Option<String>,
    pub(crate) attempt: i32,
    /// How often the customer took another payment method.
    pub(crate) retries: i32,
    pub(crate) refund_attempt: i32,
    pub(crate) seen: Seen,
}

/// A refund that the provider is to be asked about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) order_id: Id,
    pub(crate) payment_id: Id,
    pub(crate) status: Status,
    pub(crate) amount: Money,
    pub(crate) provider: Name,
    pub(crate) reference: String,
    pub(crate) asked: i32,
    /// When the question was due, as the relay writes it and takes it back.
    pub(crate) due: String,
}

/// A payment that the provider is to be asked about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) id: Id,
    pub(crate) order_id: Id,
    pub(crate) provider: Name,
    pub(crate) asked: i32,
    /// When the question was due, as the relay writes it and takes it back.
    pub(crate) due: String,
}

fn unknown(what: &str, text: &str) -> RelayError {
    RelayError::Malformed(format!("the {what} {text}"))
}

fn status(row: relay::Row<'_>) -> Result<Status, RelayError> {
    let text = row.get::<String>("status")?;
    Status::parse(&text).ok_or_else(|| unknown("status", &text))
}

fn provider(row: relay::Row<'_>) -> Result<Name, RelayError> {
    let text = row.get::<String>("provider")?;
    Name::parse(&text).ok_or_else(|| unknown("provider", &text))
}

fn amount(row: relay::Row<'_>) -> Result<Money, RelayError> {
    Ok(Money::new(row.get("amount")?, row.get::<Currency>("currency")?))
}

/// The payment's row, where there is one.
pub(crate) fn read_payment(rows: Option<&Rows>) -> Result<Option<Row>, RelayError> {
    let Some(row) = rows.and_then(Rows::first) else { return Err(unknown("order's state", "is missing")) };
    let Some(id) = row.get("id")? else { return Ok(None) };
    let cancelled = row.get::<Option<String>>("cancelled")?;
    let cancelled = cancelled.map(|text| Cancellation::parse(&text).ok_or_else(|| unknown("cancellation", &text)));
    let reference = row.get::<Option<String>>("provider_reference")?;
    Ok(Some(Row {
        id,
        amount: amount(row)?,
        payment_method: row.get("payment_method")?,
        provider: provider(row)?,
        reason: row.get("reason")?,
        attempt: row.get("attempt")?,
        retries: row.get("retries")?,
        refund_attempt: row.get::<Option<i32>>("refund_attempt")?.unwrap_or(1),
        seen: Seen {
            payment: Some(status(row)?),
            intent: reference.is_some(),
            closed: row.get("intent_closed")?,
            refund_taken: row.get::<Option<String>>("refund_reference")?.is_some(),
            cancelled: cancelled.transpose()?,
        },
        reference,
    }))
}

/// A row of [`PAYMENTS_TO_ASK`].
pub(crate) fn read_waiting(row: relay::Row<'_>) -> Result<Waiting, RelayError> {
    Ok(Waiting {
        id: row.get("id")?,
        order_id: row.get("order_id")?,
        provider: provider(row)?,
        asked: row.get("asked")?,
        due: row.get("due")?,
    })
}

/// A row of [`REFUNDS_TO_ASK`].
pub(crate) fn read_due(row: relay::Row<'_>) -> Result<Due, RelayError> {
    Ok(Due {
        order_id: row.get("order_id")?,
        payment_id: row.get("id")?,
        status: status(row)?,
        amount: amount(row)?,
        provider: provider(row)?,
        reference: row.get("provider_reference")?,
        asked: row.get("asked")?,
        due: row.get("due")?,
    })
}
