-- An order whose payment waits for its customer says so, for as long as it is open.
ALTER TABLE orders
    -- What the customer has to do, in Stripe's words: authenticate, or take another payment method.
    ADD COLUMN payment_state text CONSTRAINT orders_payment_state_check CHECK (
        payment_state IS NULL
        OR (payment_state IN ('requires_action', 'requires_payment_method') AND status IN ('pending', 'reserved'))),
    -- Whether a declined payment ends the order, or waits for another payment method until the order expires.
    ADD COLUMN on_decline    text NOT NULL DEFAULT 'reject' CONSTRAINT orders_on_decline_check CHECK (
        on_decline IN ('reject', 'wait'));
