-- Payments and refunds go by the steps that docs/payments.md draws, and by no others, whoever changes them. A CHECK sees one
-- row as it is; what it was before, only a trigger sees. A step that is drawn costs a comparison and calls no function.
--
-- Components of the release before go on while this one is rolled out: every step that they take is drawn, and nothing else
-- here is narrower than before.
CREATE FUNCTION refuse_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'docs/payments.md draws no step of % from % to %',
        TG_TABLE_NAME, CASE TG_OP WHEN 'UPDATE' THEN OLD.status ELSE 'no row' END, NEW.status
        USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END
$$;

CREATE TRIGGER payments_begin BEFORE INSERT ON payments
    FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_step();

-- TRANSITIONS and BY_A_PERSON in components/payment/src/domain.rs; a test tries every pair.
CREATE TRIGGER payments_step BEFORE UPDATE OF status ON payments
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'requires_action'), ('pending', 'processing'), ('pending', 'captured'), ('pending', 'declined'),
        ('pending', 'cancelled'), ('pending', 'refund_pending'), ('pending', 'needs_attention'),
        ('requires_action', 'pending'), ('requires_action', 'processing'), ('requires_action', 'captured'),
        ('requires_action', 'declined'), ('requires_action', 'cancelled'), ('requires_action', 'refund_pending'),
        ('requires_action', 'needs_attention'),
        ('processing', 'requires_action'), ('processing', 'captured'), ('processing', 'declined'),
        ('processing', 'cancelled'), ('processing', 'refund_pending'), ('processing', 'needs_attention'),
        ('declined', 'pending'), ('declined', 'requires_action'), ('declined', 'processing'), ('declined', 'captured'),
        ('declined', 'refund_pending'), ('declined', 'needs_attention'),
        ('captured', 'refund_pending'),
        ('refund_pending', 'refunded'), ('refund_pending', 'needs_attention'),
        ('refunded', 'needs_attention'),
        ('needs_attention', 'refunded')))
    EXECUTE FUNCTION refuse_step();

-- A person may record money that went back without a refund of ours.
CREATE TRIGGER refunds_begin BEFORE INSERT ON refunds
    FOR EACH ROW WHEN (NEW.status <> 'pending'
        AND (NEW.status, NEW.provider_reference) IS DISTINCT FROM ('succeeded'::text, 'by hand'::text))
    EXECUTE FUNCTION refuse_step();

CREATE TRIGGER refunds_step BEFORE UPDATE OF status ON refunds
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'succeeded'), ('pending', 'failed'), ('succeeded', 'failed'), ('failed', 'succeeded')))
    EXECUTE FUNCTION refuse_step();

-- A refund that the provider refused for good never had a name there. Wider than before, and NOT VALID as in V3.
ALTER TABLE refunds
    DROP CONSTRAINT refunds_reference_check,
    ADD CONSTRAINT refunds_reference_check CHECK (status <> 'succeeded' OR provider_reference IS NOT NULL) NOT VALID;

-- `409`: every key is in use. `refunds`: a bank works on every refund, and says later what became of it.
ALTER TABLE sandbox_behaviour
    DROP CONSTRAINT sandbox_behaviour_mode_check,
    ADD CONSTRAINT sandbox_behaviour_mode_check CHECK (mode IN (
        'normal', 'gone', 'slow', '500', '429', 'asks', '409', 'refunds'));
