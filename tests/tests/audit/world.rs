//! Five orders, each at another end, as the services write them.
//!
//! | order | what became of it |
//! |---|---|
//! | 1 | two ropes and an oar: confirmed |
//! | 2 | a rope: rejected, the card was declined |
//! | 3 | an oar: cancelled after it was confirmed, so refunded and back in stock |
//! | 4 | two ropes: expired before payment heard of it |
//! | 5 | a rope: rejected, out of stock |
//!
//! The payment of order N has the id that ends in 1N.

use towpath_tests::TestDatabases;

/// The order that was confirmed.
pub(crate) const CONFIRMED: &str = "00000000-0000-7000-8000-000000000001";

/// Databases with these five orders in them.
pub(crate) async fn in_order() -> TestDatabases {
    let databases = TestDatabases::migrated().await;
    for (service, rows) in [("product", PRODUCT), ("order", ORDER), ("payment", PAYMENT), ("inventory", INVENTORY)] {
        databases.execute(service, rows).await;
    }
    databases
}

const PRODUCT: &str = "
INSERT INTO products (id, sku, name, price_amount, price_currency, created_at, updated_at) VALUES
    (gen_random_uuid(), 'ROPE', 'Rope', 100, 'EUR', now(), now()),
    (gen_random_uuid(), 'OAR', 'Oar', 200, 'EUR', now(), now());";

const ORDER: &str = "
INSERT INTO orders (id, customer_id, status, reason, currency, total, payment_method, payment_id, idempotency_key,
                    request_hash)
SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'c', status, reason, 'EUR', total, 'pm_card_visa',
       ('00000000-0000-7000-8000-00000000001' || payment)::uuid, 'key-' || n, 'hash'
FROM (VALUES
    (1, 'confirmed', NULL, 400, 1),
    (2, 'rejected', 'card_declined', 100, 2),
    (3, 'cancelled', 'requested_by_customer', 200, 3),
    (4, 'expired', 'payment_timeout', 200, NULL),
    (5, 'rejected', 'out_of_stock', 100, NULL)
) AS o (n, status, reason, total, payment);
INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, line, sku, quantity, unit_price
FROM (VALUES
    (1, 1, 'ROPE', 1, 100), (1, 2, 'OAR', 1, 200), (1, 3, 'ROPE', 1, 100),
    (2, 1, 'ROPE', 1, 100), (3, 1, 'OAR', 1, 200), (4, 1, 'ROPE', 2, 100), (5, 1, 'ROPE', 1, 100)
) AS l (n, line, sku, quantity, unit_price);
INSERT INTO towpath.idempotency (key, request_hash, answer)
SELECT 'order.place:' || idempotency_key, request_hash, json_build_object('status', 202, 'body', json_build_object('id', id))
FROM orders;
INSERT INTO towpath.idempotency (key, request_hash, answer) VALUES ('another', 'hash', 'null');";

const PAYMENT: &str = "
INSERT INTO payments (id, order_id, customer_id, status, amount, currency, payment_method, provider,
                      provider_reference, reason)
SELECT ('00000000-0000-7000-8000-00000000001' || n)::uuid, ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'c',
       status, amount, 'EUR', 'pm_card_visa', 'sandbox', 'ch-' || n, reason
FROM (VALUES
    (1, 'captured', 400, NULL), (2, 'declined', 100, 'card_declined'), (3, 'refunded', 200, 'order_cancelled')
) AS p (n, status, amount, reason);
INSERT INTO refunds (id, payment_id, amount, currency, reason, status, provider_reference)
VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000013', 200, 'EUR', 'order_cancelled', 'succeeded', 're-3');
INSERT INTO cancellations (order_id, reason, event_id) VALUES
    ('00000000-0000-7000-8000-000000000003', 'order_cancelled', 'e-3'),
    ('00000000-0000-7000-8000-000000000004', 'order_expired', 'e-4');
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, declined, charge)
SELECT reference, kind, reference, ('00000000-0000-7000-8000-00000000000' || n)::uuid, amount, 'EUR', declined, charge
FROM (VALUES
    (1, 'charge', 'ch-1', 400, NULL, NULL), (2, 'charge', 'ch-2', 100, 'card_declined', NULL),
    (3, 'charge', 'ch-3', 200, NULL, NULL), (3, 'refund', 're-3', 200, NULL, 'ch-3')
) AS l (n, kind, reference, amount, declined, charge);";

const INVENTORY: &str = "
INSERT INTO stock (sku, on_hand, reserved) VALUES ('ROPE', 8, 0), ('OAR', 9, 0);
INSERT INTO reservations (order_id, state)
SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, state
FROM (VALUES (1, 'sold'), (2, 'released'), (3, 'returned'), (4, 'released'), (5, 'rejected')) AS r (n, state);
INSERT INTO reservation_lines (order_id, sku, quantity)
SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, sku, quantity
FROM (VALUES (1, 'ROPE', 2), (1, 'OAR', 1), (2, 'ROPE', 1), (3, 'OAR', 1), (4, 'ROPE', 2)) AS l (n, sku, quantity);
INSERT INTO movements (id, sku, delta, kind, order_id)
SELECT gen_random_uuid(), sku, delta, kind, ('00000000-0000-7000-8000-00000000000' || n)::uuid
FROM (VALUES
    (NULL, 'ROPE', 10, 'adjusted'), (NULL, 'OAR', 10, 'adjusted'), (1, 'ROPE', -2, 'sold'), (1, 'OAR', -1, 'sold'),
    (3, 'OAR', -1, 'sold'), (3, 'OAR', 1, 'returned')
) AS m (n, sku, delta, kind);";
