-- The payment service's own tables.
--
-- The life of a payment: `pending` is written before the provider is asked, so that a charge which nobody recorded still
-- has a row that says it may exist. Then `captured` or `declined`. A cancelled or expired order turns `captured` into
-- `refund_pending` (with a row in `refunds`), and the provider's answer turns that into `refunded`.
CREATE TABLE payments (
    id                 uuid PRIMARY KEY,
    -- One payment per order, for ever.
    order_id           uuid NOT NULL UNIQUE,
    customer_id        text NOT NULL,
    status             text NOT NULL DEFAULT 'pending' CHECK (status IN
                           ('pending', 'captured', 'declined', 'refund_pending', 'refunded')),
    amount             bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payment_method     text NOT NULL,
    -- Who was asked. A payment stays with its provider, whatever the configuration says later.
    provider           text NOT NULL CHECK (provider IN ('sandbox', 'stripe')),
    -- The provider's name for the charge.
    provider_reference text,
    -- Why it was declined, or why it went back.
    reason             text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CHECK (status NOT IN ('captured', 'refund_pending', 'refunded') OR provider_reference IS NOT NULL),
    CHECK ((status IN ('declined', 'refund_pending', 'refunded')) = (reason IS NOT NULL))
);

CREATE TABLE refunds (
    id                 uuid PRIMARY KEY,
    -- One refund per payment, always of the whole amount.
    payment_id         uuid NOT NULL UNIQUE REFERENCES payments,
    amount             bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reason             text NOT NULL,
    status             text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded')),
    -- The provider's name for the refund.
    provider_reference text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'succeeded') = (provider_reference IS NOT NULL))
);

-- Orders that came to nothing, remembered also where the cancellation came before the wish to charge.
CREATE TABLE cancellations (
    order_id uuid PRIMARY KEY,
    -- `order_cancelled` or `order_expired`.
    reason   text NOT NULL CHECK (reason IN ('order_cancelled', 'order_expired')),
    event_id text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);

-- The books of the sandbox provider, which stands in for a bank. It knows nothing of the tables above: it is written in
-- transactions of its own, before payment records what it answered, as a bank across the network would.
CREATE TABLE sandbox_ledger (
    -- The provider's idempotency key, derived from the order: a second attempt finds the first.
    key       text PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('charge', 'refund')),
    reference text NOT NULL UNIQUE,
    order_id  uuid NOT NULL,
    amount    bigint NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    currency  text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- Null where the charge was paid; otherwise why not.
    declined  text,
    -- The charge that a refund gives back.
    charge    text REFERENCES sandbox_ledger (reference),
    at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'refund') = (charge IS NOT NULL)),
    CHECK (kind = 'charge' OR declined IS NULL)
);

-- A charge goes back once.
CREATE UNIQUE INDEX sandbox_ledger_refunds ON sandbox_ledger (charge) WHERE kind = 'refund';
CREATE INDEX sandbox_ledger_by_order ON sandbox_ledger (order_id);
