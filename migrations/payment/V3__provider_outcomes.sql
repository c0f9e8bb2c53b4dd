-- What a payment provider really does: it keeps the answer of a key, refunds take days and may fail, and an intent is
-- created before it is charged. docs/payments.md draws the states that the CHECKs below hold.
--
-- Every CHECK is wider than the one before it. The new ones are NOT VALID: old rows pass them, and no scan holds the lock.
ALTER TABLE payments
    -- Part of the provider's key. Raised once a look-up has shown that the attempt before it made nothing.
    ADD COLUMN attempt       integer NOT NULL DEFAULT 1 CONSTRAINT payments_attempt_check CHECK (attempt >= 1),
    -- The provider's own word for why it declined: for us, not for the customer.
    ADD COLUMN provider_code text,
    DROP CONSTRAINT payments_status_check,
    ADD CONSTRAINT payments_status_check CHECK (status IN
        ('pending', 'captured', 'declined', 'cancelled', 'refund_pending', 'refunded', 'needs_attention')) NOT VALID,
    DROP CONSTRAINT payments_check,
    ADD CONSTRAINT payments_reference_check CHECK (
        status NOT IN ('captured', 'refund_pending', 'refunded', 'needs_attention') OR provider_reference IS NOT NULL) NOT VALID,
    DROP CONSTRAINT payments_check1,
    ADD CONSTRAINT payments_reason_check CHECK (
        (status IN ('declined', 'cancelled', 'refund_pending', 'refunded', 'needs_attention')) = (reason IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT payments_provider_code_check CHECK (
        provider_code IS NULL OR status IN ('declined', 'needs_attention')) NOT VALID;

ALTER TABLE refunds
    -- As of a payment.
    ADD COLUMN attempt       integer NOT NULL DEFAULT 1 CONSTRAINT refunds_attempt_check CHECK (attempt >= 1),
    -- The provider's word for why it failed.
    ADD COLUMN provider_code text,
    -- When the provider is asked next what became of it, and how often it was asked in this status.
    ADD COLUMN ask_at        timestamptz,
    ADD COLUMN asked         integer NOT NULL DEFAULT 0 CONSTRAINT refunds_asked_check CHECK (asked >= 0),
    DROP CONSTRAINT refunds_status_check,
    ADD CONSTRAINT refunds_status_check CHECK (status IN ('pending', 'succeeded', 'failed')) NOT VALID,
    DROP CONSTRAINT refunds_check,
    -- A pending one has a reference once the provider has taken it.
    ADD CONSTRAINT refunds_reference_check CHECK (status = 'pending' OR provider_reference IS NOT NULL) NOT VALID,
    ADD CONSTRAINT refunds_ask_check CHECK (ask_at IS NULL OR provider_reference IS NOT NULL) NOT VALID,
    ADD CONSTRAINT refunds_failed_check CHECK (status <> 'failed' OR (ask_at IS NULL AND provider_code IS NOT NULL)) NOT VALID;

-- What the timer reads.
CREATE INDEX refunds_to_ask ON refunds (ask_at) WHERE ask_at IS NOT NULL;

-- The sandbox's intents, as Stripe has them: created, then charged, declined or cancelled, once.
CREATE TABLE sandbox_intents (
    reference      text PRIMARY KEY,
    order_id       uuid NOT NULL,
    amount         bigint NOT NULL CONSTRAINT sandbox_intents_amount_check CHECK (amount > 0),
    currency       text NOT NULL CONSTRAINT sandbox_intents_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    payment_method text NOT NULL,
    status         text NOT NULL DEFAULT 'requires_confirmation' CONSTRAINT sandbox_intents_status_check CHECK (status IN
                       ('requires_confirmation', 'succeeded', 'requires_payment_method', 'canceled')),
    at             timestamptz NOT NULL DEFAULT now()
);

-- What the sandbox answered under each idempotency key, failures too: the same key gets the same answer.
CREATE TABLE sandbox_answers (
    key     text PRIMARY KEY,
    -- Path and form: another request under this key is refused.
    request text NOT NULL,
    status  integer NOT NULL CONSTRAINT sandbox_answers_status_check CHECK (status BETWEEN 200 AND 599),
    body    text NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);

-- What became of a refund in the sandbox's ledger. Null in a charge, and in a refund of an older release: it succeeded.
ALTER TABLE sandbox_ledger
    ADD COLUMN status text CONSTRAINT sandbox_ledger_status_check CHECK (
        status IS NULL OR (kind = 'refund' AND status IN ('pending', 'succeeded', 'failed')));
