//! All SQL of the sandbox: its books, which the payment service doesn't read.
//!
//! Each text is a constant, prepared as those of [`crate::store`] are.

/// The sandbox: all that a call depends on. Always one row.
///
/// Parameters: the call's key, intent, refund; each may be null.
pub const SANDBOX_SEEN: &str = "
SELECT a.request, a.status AS answered, a.body,
       i.reference AS intent, i.order_id, i.amount, i.currency, i.payment_method, i.status, i.client_secret,
       r.reference AS refund, coalesce(r.status, 'succeeded') AS refund_status, b.mode
FROM (SELECT $1::text AS key, $2::text AS intent, $3::text AS refund) c
LEFT JOIN sandbox_answers a ON a.key = c.key
LEFT JOIN sandbox_ledger r ON r.kind = 'refund' AND (r.reference = c.refund OR r.charge = c.intent)
LEFT JOIN sandbox_intents i ON i.reference = coalesce(c.intent, r.charge)
LEFT JOIN sandbox_behaviour b ON b.until > now() AND b.mode <> 'normal'";

/// Whether nobody has told the sandbox to misbehave: one row then.
pub const SANDBOX_AS_USUAL: &str = "
SELECT 1 AS as_usual WHERE NOT EXISTS (SELECT FROM sandbox_behaviour WHERE until > now() AND mode <> 'normal')";

/// The sandbox keeps an answer under its key, unless there is one. Parameters: key, request, status, body.
pub const SANDBOX_KEEP: &str = "
INSERT INTO sandbox_answers (key, request, status, body) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING";

/// The sandbox: the intent with this secret. Parameters: its name, the rest of the secret.
pub const SANDBOX_INTENT_OF: &str = "
SELECT reference, amount, currency, payment_method, status, client_secret FROM sandbox_intents
WHERE reference = $1 AND client_secret = $2";

/// The sandbox creates an intent, and returns its secret. Parameters: reference, order, amount, currency, payment method.
pub const SANDBOX_CREATE: &str = "
INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method) VALUES ($1, $2, $3, $4, $5)
RETURNING client_secret";

/// The sandbox moves an intent on. Parameters: reference; the status as seen, and the new one; its payment method.
pub const SANDBOX_MOVE: &str = "
UPDATE sandbox_intents SET status = $3, payment_method = $4 WHERE reference = $1 AND status = $2";

/// The sandbox's ledger: the charge of an intent, or that it was declined. One that was declined may be charged later.
///
/// Parameters: key, intent, why it is declined.
pub const LEDGER_CHARGE: &str = "
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, declined)
SELECT $1::text, 'charge', reference, order_id, amount, currency, $3::text FROM sandbox_intents WHERE reference = $2
ON CONFLICT (reference) DO UPDATE SET key = excluded.key, declined = excluded.declined, at = excluded.at
WHERE sandbox_ledger.declined IS NOT NULL";

/// The sandbox's ledger: a refund of a charge.
///
/// Parameters: key, reference, intent, status.
pub const LEDGER_REFUND: &str = "
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, charge, status)
SELECT $1::text, 'refund', $2::text, order_id, amount, currency, reference, $4::text
FROM sandbox_ledger WHERE reference = $3 AND kind = 'charge' AND declined IS NULL";

/// The sandbox's ledger: what becomes of a refund. Parameters: reference; the status as seen, and the new one.
pub const LEDGER_MOVE: &str = "
UPDATE sandbox_ledger SET status = $3 WHERE reference = $1 AND coalesce(status, 'succeeded') = $2";

/// Every text, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("SANDBOX_SEEN", SANDBOX_SEEN),
    ("SANDBOX_AS_USUAL", SANDBOX_AS_USUAL),
    ("SANDBOX_KEEP", SANDBOX_KEEP),
    ("SANDBOX_INTENT_OF", SANDBOX_INTENT_OF),
    ("SANDBOX_CREATE", SANDBOX_CREATE),
    ("SANDBOX_MOVE", SANDBOX_MOVE),
    ("LEDGER_CHARGE", LEDGER_CHARGE),
    ("LEDGER_REFUND", LEDGER_REFUND),
    ("LEDGER_MOVE", LEDGER_MOVE),
];
