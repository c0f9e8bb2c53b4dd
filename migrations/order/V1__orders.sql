-- The order service's own tables. Statuses and what belongs to them are held by CHECKs, so that no statement, of a
-- component or of a person, can leave an order in a state that the rules don't know.

-- Prices as the product service last told them. Events may arrive late or twice: `version` only ever grows.
CREATE TABLE product_prices (
    sku        text PRIMARY KEY,
    product_id uuid NOT NULL,
    amount     bigint NOT NULL CHECK (amount >= 0),
    currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    active     boolean NOT NULL,
    version    bigint NOT NULL CHECK (version >= 1),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders (
    -- UUIDv7: ids grow with time, so the lists page by id.
    id              uuid PRIMARY KEY,
    customer_id     text NOT NULL,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN
                        ('pending', 'reserved', 'confirmed', 'shipped', 'delivered', 'rejected', 'cancelled', 'expired')),
    -- Why it came to nothing.
    reason          text,
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- In minor units: the sum of the lines. A JSON number carries it in every language, hence 2^53 - 1.
    total           bigint NOT NULL CHECK (total BETWEEN 0 AND 9007199254740991),
    payment_method  text NOT NULL,
    -- The payment that was captured or declined, once there is one.
    payment_id      uuid,
    -- One order per key, for ever: the relay keeps a key's answer for a time, this keeps the promise after it.
    idempotency_key text NOT NULL UNIQUE,
    request_hash    text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (status NOT IN ('confirmed', 'shipped', 'delivered') OR payment_id IS NOT NULL),
    CHECK ((status IN ('rejected', 'cancelled', 'expired')) = (reason IS NOT NULL))
);

CREATE INDEX orders_by_customer ON orders (customer_id, id DESC);
CREATE INDEX orders_by_status ON orders (status, id DESC);
-- What the expiry sweep reads: open orders alone, oldest first. An index predicate must be immutable, so the age is a
-- matter of the query.
CREATE INDEX orders_open ON orders (created_at) WHERE status IN ('pending', 'reserved');

CREATE TABLE order_lines (
    order_id   uuid NOT NULL REFERENCES orders,
    -- As the customer wrote them, from 1. Two lines may name one SKU.
    line       integer NOT NULL CHECK (line BETWEEN 1 AND 100),
    sku        text NOT NULL,
    quantity   integer NOT NULL CHECK (quantity BETWEEN 1 AND 10000),
    unit_price bigint NOT NULL CHECK (unit_price >= 0),
    total      bigint NOT NULL GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (order_id, line)
);

-- What happened to an order, in the order in which it became true: every entry is written under the lock of the order's
-- row. It only grows.
CREATE TABLE order_history (
    order_id uuid NOT NULL REFERENCES orders,
    seq      bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL,
    -- The type of the event, heard or said.
    type     text NOT NULL,
    event_id text NOT NULL,
    detail   jsonb NOT NULL,
    -- The status that the order took with this entry, where it took one.
    status   text CHECK (status IN
                 ('pending', 'reserved', 'confirmed', 'shipped', 'delivered', 'rejected', 'cancelled', 'expired')),
    PRIMARY KEY (order_id, seq)
);
