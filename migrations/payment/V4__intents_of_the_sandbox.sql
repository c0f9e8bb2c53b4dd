-- The sandbox's charges of older releases as intents, so that they can be refunded. The books of the sandbox are small.
INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method, status, at)
SELECT reference, order_id, amount, currency, 'pm_card_visa',
       CASE WHEN declined IS NULL THEN 'succeeded' ELSE 'requires_payment_method' END, at
FROM sandbox_ledger WHERE kind = 'charge' AND amount > 0
ON CONFLICT (reference) DO NOTHING;
