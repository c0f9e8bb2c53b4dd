-- Stock, what is reserved of it, and the ledger that says why it is what it is. Always true:
--   stock.on_hand  = sum(movements.delta) of the SKU
--   stock.reserved = sum(reservation_lines.quantity) of the SKU, over reservations in state 'reserved'
--   available      = on_hand - reserved >= 0
-- Tables stand in the schema that the search path begins with: app.

CREATE TABLE stock (
    sku        text        PRIMARY KEY,
    on_hand    bigint      NOT NULL DEFAULT 0,
    reserved   bigint      NOT NULL DEFAULT 0,
    available  bigint      NOT NULL GENERATED ALWAYS AS (on_hand - reserved) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_sku_length CHECK (char_length(sku) BETWEEN 1 AND 64),
    CONSTRAINT stock_on_hand_not_negative CHECK (on_hand >= 0),
    CONSTRAINT stock_reserved_not_negative CHECK (reserved >= 0),
    CONSTRAINT stock_available_not_negative CHECK (reserved <= on_hand)
)
-- Nothing that changes is indexed, so an update that finds room in its page writes no index: leave room.
WITH (fillfactor = 70);

-- One row per order that inventory has heard of, also of one that it reserved nothing for: whatever comes late or twice
-- finds the row.
CREATE TABLE reservations (
    order_id   uuid        PRIMARY KEY,
    state      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reservations_state_known CHECK (state IN (
        'reserved',       -- its lines hold stock
        'sold',           -- confirmed: its lines have left the stock
        'rejected',       -- there was not enough; it never had lines
        'released',       -- ended before confirmation: its lines hold nothing any more
        'returned',       -- cancelled after confirmation: its lines are back in stock
        'ended_early',    -- ended before inventory heard that it was placed: never reserve
        'confirmed_early' -- confirmed before inventory heard that it was placed: sell at once
    ))
)
WITH (fillfactor = 80);

CREATE TABLE reservation_lines (
    order_id uuid   NOT NULL REFERENCES reservations,
    sku      text   NOT NULL REFERENCES stock,
    quantity bigint NOT NULL,
    PRIMARY KEY (order_id, sku),
    CONSTRAINT reservation_lines_quantity_positive CHECK (quantity > 0)
);

-- The ledger. It only grows.
CREATE TABLE movements (
    id       uuid        PRIMARY KEY,
    sku      text        NOT NULL REFERENCES stock,
    delta    bigint      NOT NULL,
    kind     text        NOT NULL,
    reason   text,
    order_id uuid        REFERENCES reservations,
    at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT movements_delta_not_zero CHECK (delta <> 0),
    CONSTRAINT movements_kind_known CHECK (
        (kind = 'adjusted' AND order_id IS NULL)
        OR (kind = 'sold' AND order_id IS NOT NULL AND delta < 0)
        OR (kind = 'returned' AND order_id IS NOT NULL AND delta > 0)
    )
);

-- An order's stock is sold once and returned once.
CREATE UNIQUE INDEX movements_once_per_order ON movements (order_id, sku, kind) WHERE order_id IS NOT NULL;
CREATE INDEX movements_sku ON movements (sku, at);

CREATE FUNCTION movements_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movements only grow: % is refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER movements_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON movements
    FOR EACH STATEMENT EXECUTE FUNCTION movements_only_grow();
