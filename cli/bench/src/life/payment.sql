SELECT gen_random_uuid() AS id, gen_random_uuid() AS order_id \gset
BEGIN;
INSERT INTO app.payments (id, order_id, customer_id, amount, currency, payment_method, provider, provider_reference)
VALUES (:id, :order_id, 'bench', 100, 'EUR', 'pm_card_visa', 'sandbox', :id);
INSERT INTO app.sandbox_ledger (key, kind, reference, order_id, amount, currency)
VALUES (:id, 'charge', :id, :order_id, 100, 'EUR');
UPDATE app.payments SET status = 'captured', updated_at = greatest(clock_timestamp(), updated_at)
WHERE id = :id AND status = 'pending';
INSERT INTO app.bench_kept (data) VALUES ('the inbox id of order.placed'), ('the event payment.captured');
COMMIT;
