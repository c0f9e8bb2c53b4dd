-- The idempotency key that a product was created with, and the first answer to it, for ever: the relay keeps a key's answer
-- for a time, this keeps the promise after it. The product changes, so the answer stands beside it.
ALTER TABLE products
    ADD COLUMN idempotency_key text,
    ADD COLUMN request_hash    text,
    ADD COLUMN first_answer    json,
    ADD CONSTRAINT products_key_length CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255) NOT VALID,
    ADD CONSTRAINT products_key_with_answer CHECK (
        (idempotency_key IS NULL) = (request_hash IS NULL) AND (idempotency_key IS NULL) = (first_answer IS NULL))
        NOT VALID;

CREATE UNIQUE INDEX IF NOT EXISTS products_idempotency_key ON products (idempotency_key)
    WHERE idempotency_key IS NOT NULL;
