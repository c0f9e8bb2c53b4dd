-- A payment may wait at the provider: for its customer to authenticate, or for a bank. docs/payments.md draws the states.
--
-- As in V3, every CHECK is wider than the one before it, and NOT VALID.
ALTER TABLE payments
    -- How often the customer took another payment method.
    ADD COLUMN retries       integer NOT NULL DEFAULT 0 CONSTRAINT payments_retries_check CHECK (retries >= 0),
    -- Of a declined payment: its intent is cancelled, so that no other card can pay it any more.
    ADD COLUMN intent_closed boolean NOT NULL DEFAULT false
        CONSTRAINT payments_closed_check CHECK (NOT intent_closed OR status = 'declined'),
    -- When the provider is asked next what became of it, and how often it was asked in this status.
    ADD COLUMN ask_at        timestamptz,
    ADD COLUMN asked         integer NOT NULL DEFAULT 0 CONSTRAINT payments_asked_check CHECK (asked >= 0),
    DROP CONSTRAINT payments_status_check,
    ADD CONSTRAINT payments_status_check CHECK (status IN
        ('pending', 'requires_action', 'processing', 'captured', 'declined', 'cancelled', 'refund_pending', 'refunded',
         'needs_attention')) NOT VALID,
    DROP CONSTRAINT payments_reference_check,
    ADD CONSTRAINT payments_reference_check CHECK (
        status IN ('pending', 'declined', 'cancelled') OR provider_reference IS NOT NULL) NOT VALID,
    ADD CONSTRAINT payments_ask_check CHECK (
        ask_at IS NULL OR (status IN ('requires_action', 'processing', 'declined') AND provider_reference IS NOT NULL)) NOT VALID;

-- What the timer reads.
CREATE INDEX payments_to_ask ON payments (ask_at) WHERE ask_at IS NOT NULL;

ALTER TABLE cancellations
    DROP CONSTRAINT cancellations_reason_check,
    ADD CONSTRAINT cancellations_reason_check CHECK (
        reason IN ('order_cancelled', 'order_expired', 'order_rejected')) NOT VALID;

-- In the mode `asks`, every card asks its customer to authenticate.
ALTER TABLE sandbox_behaviour
    DROP CONSTRAINT sandbox_behaviour_mode_check,
    ADD CONSTRAINT sandbox_behaviour_mode_check CHECK (mode IN ('normal', 'gone', 'slow', '500', '429', 'asks'));

ALTER TABLE sandbox_intents
    -- What a customer shows to authenticate. Unguessable: the intent's own name is no secret.
    ADD COLUMN client_secret text NOT NULL DEFAULT gen_random_uuid()::text,
    DROP CONSTRAINT sandbox_intents_status_check,
    ADD CONSTRAINT sandbox_intents_status_check CHECK (status IN
        ('requires_confirmation', 'requires_action', 'processing', 'succeeded', 'requires_payment_method', 'canceled')) NOT VALID;
