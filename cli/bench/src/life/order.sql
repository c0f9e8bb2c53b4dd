SELECT gen_random_uuid() AS id, gen_random_uuid() AS payment \gset
BEGIN;
WITH placed AS (
    INSERT INTO app.orders (id, customer_id, currency, total, payment_method, idempotency_key, request_hash)
    VALUES (:id, 'bench', 'EUR', 100, 'pm_card_visa', :id, 'none')
    RETURNING id, created_at
), lines AS (
    INSERT INTO app.order_lines (order_id, line, sku, quantity, unit_price) VALUES (:id, 1, 'BENCH-LIFE-1', 1, 100)
)
INSERT INTO app.order_history (order_id, at, type, event_id, detail, status)
SELECT id, created_at, 'order.placed', id, '{"lines": [{"sku": "BENCH-LIFE-1", "quantity": 1}]}', 'pending' FROM placed;
INSERT INTO app.bench_kept (data) VALUES ('the answer under its idempotency key'), ('the event order.placed');
COMMIT;
BEGIN;
WITH stepped AS (
    UPDATE app.orders SET status = 'reserved', updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = :id AND status = 'pending' AND total = 100 AND currency = 'EUR'
    RETURNING id, updated_at
)
INSERT INTO app.order_history (order_id, at, type, event_id, detail, status)
SELECT id, updated_at, 'stock.reserved', id, '{}', 'reserved' FROM stepped;
INSERT INTO app.bench_kept (data) VALUES ('the inbox id of stock.reserved');
COMMIT;
BEGIN;
WITH stepped AS (
    UPDATE app.orders SET status = 'confirmed', payment_id = :payment, updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = :id AND status = 'reserved' AND total = 100 AND currency = 'EUR'
    RETURNING id, updated_at
)
INSERT INTO app.order_history (order_id, at, type, event_id, detail, status)
SELECT id, updated_at, type, id, '{}', status
FROM stepped, (VALUES ('payment.captured', NULL), ('order.confirmed', 'confirmed')) AS entries (type, status);
INSERT INTO app.bench_kept (data) VALUES ('the inbox id of payment.captured'), ('the event order.confirmed');
COMMIT;
