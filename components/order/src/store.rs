//! All SQL of the order service.
//!
//! Each text is a constant: the relay prepares it once per connection, and a test prepares all of them against the
//! migrated schema.

/// An order's columns, with its lines as JSON whose fields stand as in the first answer: a repetition gets the same bytes.
macro_rules! select_order {
    ($status:literal, $reason:literal, $payment_id:literal, $updated_at:literal, $rest:literal) => {
        concat!(
            "SELECT o.id, o.customer_id, ",
            $status,
            " AS status, ",
            $reason,
            " AS reason, o.currency, o.total, ",
            $payment_id,
            " AS payment_id, o.created_at, ",
            $updated_at,
            " AS updated_at, l.lines, o.request_hash, o.idempotency_key, o.on_decline, o.payment_state
             FROM orders o CROSS JOIN LATERAL (
                 SELECT json_agg(json_build_object(
                     'sku', sku, 'quantity', quantity,
                     'unit_price', json_build_object('amount', unit_price, 'currency', o.currency),
                     'total', json_build_object('amount', total, 'currency', o.currency)) ORDER BY line) AS lines
                 FROM order_lines WHERE order_id = o.id) l ",
            $rest
        )
    };
    ($rest:literal) => {
        select_order!("o.status", "o.reason", "o.payment_id", "o.updated_at", $rest)
    };
}

/// An order with its lines and the first entry of its history.
///
/// Parameters: id, customer, currency, total, payment method, idempotency key, request hash, time; SKUs, quantities
/// and unit prices as arrays; id and data of `order.placed`; what a declined payment does.
pub const PLACE: &str = "
WITH placed AS (
    INSERT INTO orders (id, customer_id, currency, total, payment_method, idempotency_key, request_hash,
                        created_at, updated_at, on_decline)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $14)
    RETURNING id, created_at
), lines AS (
    INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
    SELECT $1, l.line, l.sku, l.quantity, l.unit_price
    FROM unnest($9::text[], $10::integer[], $11::bigint[]) WITH ORDINALITY AS l (sku, quantity, unit_price, line)
)
INSERT INTO order_history (order_id, at, type, event_id, detail, status)
SELECT id, created_at, 'order.placed', $12, $13, 'pending' FROM placed";

/// The constraint that [`PLACE`] violates if the customer used the key before and the relay has deleted it.
pub const KEY_USED: &str = "orders_idempotency_key_key";

/// A step of an order, with its entries in the history, if its row still is as it was seen.
///
/// It locks the row before it takes numbers for the history, so that these are in the order of the commits.
/// Parameters: id; new status, reason, payment; status, total and currency as seen; the entries; what the payment asks of the
/// customer, now and as seen; the payment method where it is another one; when, or null for now.
pub const STEP: &str = "
WITH stepped AS (
    UPDATE orders
    SET status = $2, reason = coalesce($3, reason), payment_id = coalesce(payment_id, $4), payment_state = $9,
        payment_method = coalesce($11, payment_method),
        updated_at = greatest(coalesce($12::timestamptz, clock_timestamp()), updated_at)
    WHERE id = $1 AND status = $5 AND total = $6 AND currency = $7
      AND payment_state IS NOT DISTINCT FROM $10::text
    RETURNING id, updated_at
)
INSERT INTO order_history (order_id, at, type, event_id, detail, status)
SELECT s.id, s.updated_at, e.entry ->> 'type', e.entry ->> 'event_id', e.entry -> 'detail', e.entry ->> 'status'
FROM stepped s CROSS JOIN jsonb_array_elements($8::jsonb) WITH ORDINALITY AS e (entry, n)
ORDER BY e.n";

/// The columns that decisions depend on.
pub const SEEN: &str = "SELECT status, total, currency, on_decline, payment_state FROM orders WHERE id = $1";

/// One order. Parameters: id; whose, or null for anybody's.
pub const ORDER: &str = select_order!("WHERE o.id = $1 AND ($2::text IS NULL OR o.customer_id = $2)");

/// The order that a customer placed with a key. Parameters: key, customer.
pub const ORDER_BY_KEY: &str = select_order!("WHERE o.idempotency_key = $1 AND o.customer_id = $2");

/// One order as it was when it was first decided, or as it is while it waits for its customer; no row otherwise. Clients
/// wait for it.
pub const DECIDED: &str = select_order!(
    "coalesce(d.status, o.status)",
    "d.detail ->> 'reason'",
    "coalesce((d.detail ->> 'payment_id')::uuid, CASE WHEN d.status IS NULL THEN o.payment_id END)",
    "coalesce(d.at, o.updated_at)",
    "LEFT JOIN LATERAL (
         SELECT status, at, detail FROM order_history
         WHERE order_id = o.id AND status NOT IN ('pending', 'reserved') ORDER BY seq LIMIT 1) d ON true
     WHERE o.id = $1 AND (d.status IS NOT NULL OR o.payment_state IS NOT NULL)"
);

/// A page of orders, newest first. Parameters: after which id, how many.
pub const ORDERS: &str = select_order!("WHERE o.id < $1 ORDER BY o.id DESC LIMIT $2");

/// A page of one customer's orders. Parameters: after which id, how many, customer.
pub const ORDERS_OF_CUSTOMER: &str =
    select_order!("WHERE o.id < $1 AND o.customer_id = $3 ORDER BY o.id DESC LIMIT $2");

/// A page of the orders with one status. Parameters: after which id, how many, status.
pub const ORDERS_IN_STATUS: &str = select_order!("WHERE o.id < $1 AND o.status = $3 ORDER BY o.id DESC LIMIT $2");

/// A page of one customer's orders with one status. Parameters: after which id, how many, customer, status.
pub const ORDERS_OF_CUSTOMER_IN_STATUS: &str =
    select_order!("WHERE o.id < $1 AND o.customer_id = $3 AND o.status = $4 ORDER BY o.id DESC LIMIT $2");

/// The history of an order. Parameters: id; whose, or null for anybody's.
pub const HISTORY: &str = "
SELECT at, type, event_id, detail FROM order_history
WHERE order_id = $1 AND ($2::text IS NULL OR EXISTS (SELECT FROM orders WHERE id = $1 AND customer_id = $2))
ORDER BY seq";

/// Open orders that are older than a span, oldest first. Parameters: the component's time, the seconds, how many.
///
/// An order is as old as the earlier of two clocks says, the component's and the database's: one of them that is ahead, if only
/// for a moment, expires nothing. Neither `least` nor `now()` keeps PostgreSQL from using the index, as `clock_timestamp()`
/// would. The statuses are those of the index `orders_open`, written out: a parameter would keep PostgreSQL from using it.
pub const OPEN_SINCE: &str = "
SELECT id, status, total, currency, on_decline, payment_state FROM orders
WHERE status IN ('pending', 'reserved')
    AND created_at < least($1::timestamptz, now()) - $2::bigint * interval '1 second'
ORDER BY created_at LIMIT $3";

/// Prices of these SKUs.
pub const PRICES: &str = "SELECT sku, amount, currency, active FROM product_prices WHERE sku = ANY ($1::text[])";

/// The SKUs that are on sale at these prices. Parameters: SKUs, amounts and currencies as arrays.
pub const PRICED: &str = "
SELECT p.sku FROM product_prices p
JOIN unnest($1::text[], $2::bigint[], $3::text[]) AS l (sku, amount, currency) USING (sku, amount, currency)
WHERE p.active";

/// The label of the step that fails if something is not on sale at its price.
pub const OTHER_PRICES: &str = "other_prices";

/// A price, unless a later version is known. Parameters: SKU, product id, amount, currency, active, version.
pub const KEEP_PRICE: &str = "
INSERT INTO product_prices AS p (sku, product_id, amount, currency, active, version)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (sku) DO UPDATE
SET product_id = excluded.product_id, amount = excluded.amount, currency = excluded.currency,
    active = excluded.active, version = excluded.version, updated_at = now()
WHERE p.version < excluded.version";

/// Every text, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("PLACE", PLACE),
    ("STEP", STEP),
    ("SEEN", SEEN),
    ("ORDER", ORDER),
    ("ORDER_BY_KEY", ORDER_BY_KEY),
    ("DECIDED", DECIDED),
    ("ORDERS", ORDERS),
    ("ORDERS_OF_CUSTOMER", ORDERS_OF_CUSTOMER),
    ("ORDERS_IN_STATUS", ORDERS_IN_STATUS),
    ("ORDERS_OF_CUSTOMER_IN_STATUS", ORDERS_OF_CUSTOMER_IN_STATUS),
    ("HISTORY", HISTORY),
    ("OPEN_SINCE", OPEN_SINCE),
    ("PRICES", PRICES),
    ("PRICED", PRICED),
    ("KEEP_PRICE", KEEP_PRICE),
];
