-- What the provider says by webhooks. A refund's webhook only makes the question of the timer due, so it finds its payment
-- by the provider's reference.
CREATE INDEX payments_by_reference ON payments (provider_reference) WHERE provider_reference IS NOT NULL;

-- What a person has to see to at the provider: disputes, and money that went back without this service.
CREATE TABLE provider_cases (
    -- The provider's name for it: of the dispute, or of the charge.
    reference  text PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    kind       text NOT NULL CONSTRAINT provider_cases_kind_check CHECK (kind IN ('dispute', 'refunded_elsewhere')),
    -- The provider's words.
    status     text NOT NULL,
    reason     text,
    -- In the provider's units.
    amount     bigint NOT NULL CONSTRAINT provider_cases_amount_check CHECK (amount >= 0),
    currency   text NOT NULL,
    closed     boolean NOT NULL,
    -- When the provider said so. What is closed stays so, and an older word changes nothing.
    said_at    timestamptz NOT NULL,
    opened_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX provider_cases_by_payment ON provider_cases (payment_id);

-- Webhooks of types that payment has no use for, counted.
CREATE TABLE unused_webhooks (
    provider text NOT NULL,
    type     text NOT NULL CONSTRAINT unused_webhooks_type_check CHECK (char_length(type) <= 100),
    count    bigint NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (provider, type)
);
