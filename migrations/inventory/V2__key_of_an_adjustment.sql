-- One adjustment per key, for ever, as the ledger is: the relay keeps a key's answer for a time, this keeps the promise after
-- it. Adjustments of older releases have no key here; the relay keeps theirs for that time.
ALTER TABLE movements
    ADD COLUMN idempotency_key text,
    ADD COLUMN request_hash    text,
    ADD CONSTRAINT movements_key_length CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255) NOT VALID,
    ADD CONSTRAINT movements_key_of_an_adjustment CHECK (
        (idempotency_key IS NULL) = (request_hash IS NULL) AND (idempotency_key IS NULL OR kind = 'adjusted')) NOT VALID;

-- On a large table, create it CONCURRENTLY by hand once the column is there, or migrate at a quiet time.
CREATE UNIQUE INDEX IF NOT EXISTS movements_idempotency_key ON movements (idempotency_key)
    WHERE idempotency_key IS NOT NULL;
