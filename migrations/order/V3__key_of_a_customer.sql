-- An idempotency key belongs to the customer that chose it: two customers may choose the same one.
--
-- The constraint keeps its name, by which components of the release before know that a key was used; they find the order by
-- the key alone, which is the first column of the index. On a large table, create the index CONCURRENTLY by hand first.
CREATE UNIQUE INDEX IF NOT EXISTS orders_key_of_customer ON orders (idempotency_key, customer_id);
ALTER TABLE orders
    DROP CONSTRAINT orders_idempotency_key_key,
    ADD CONSTRAINT orders_idempotency_key_key UNIQUE USING INDEX orders_key_of_customer;
