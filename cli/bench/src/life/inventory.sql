\set n random(1, 50)
SELECT gen_random_uuid() AS id, 'BENCH-LIFE-' || :n AS sku \gset
BEGIN;
SELECT sku FROM app.stock WHERE sku = :sku FOR NO KEY UPDATE;
INSERT INTO app.reservations (order_id, state) VALUES (:id, 'reserved') ON CONFLICT (order_id) DO NOTHING;
UPDATE app.stock SET reserved = reserved + 1, updated_at = now() WHERE sku = :sku AND on_hand - reserved >= 1;
INSERT INTO app.reservation_lines (order_id, sku, quantity) VALUES (:id, :sku, 1);
INSERT INTO app.bench_kept (data) VALUES ('the inbox id of order.placed'), ('the event stock.reserved');
COMMIT;
BEGIN;
UPDATE app.reservations SET state = 'sold', updated_at = now() WHERE order_id = :id AND state = 'reserved';
SELECT sku FROM app.stock WHERE sku = :sku FOR NO KEY UPDATE;
UPDATE app.stock SET on_hand = on_hand - 1, reserved = reserved - 1, updated_at = now() WHERE sku = :sku;
INSERT INTO app.movements (id, sku, delta, kind, order_id) VALUES (gen_random_uuid(), :sku, -1, 'sold', :id);
INSERT INTO app.bench_kept (data) VALUES ('the inbox id of order.confirmed');
COMMIT;
