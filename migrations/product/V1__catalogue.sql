-- The catalogue. Every change of a product raises its version, which is also its entity tag.
-- Tables stand in the schema that the search path begins with: app.

CREATE TABLE products (
    -- A UUIDv7: it grows, so that new products come after those that a client has read already.
    id             uuid        PRIMARY KEY,
    sku            text        NOT NULL,
    name           text        NOT NULL,
    description    text,
    price_amount   bigint      NOT NULL,
    price_currency text        NOT NULL,
    active         boolean     NOT NULL DEFAULT true,
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT products_sku_key UNIQUE (sku),
    CONSTRAINT products_sku_length CHECK (char_length(sku) BETWEEN 1 AND 64),
    CONSTRAINT products_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT products_description_length CHECK (char_length(description) <= 2000),
    CONSTRAINT products_price_positive CHECK (price_amount BETWEEN 1 AND 1000000000000),
    CONSTRAINT products_currency_code CHECK (price_currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_version_positive CHECK (version >= 1)
);
