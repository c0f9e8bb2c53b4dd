//! The payment service's database.

use tokio_postgres::{Error, Transaction};

use crate::scope::Scope;
use crate::snapshot::{LedgerRow, PaymentRow, RefundRow, Snapshot};

const PAYMENTS: &str = "
    SELECT id, order_id, status, amount, currency, provider, ask_at IS NOT NULL AS will_ask,
           extract(epoch FROM clock_timestamp() - updated_at)::float8 AS age_s
    FROM app.payments
    WHERE $1::uuid[] IS NULL OR order_id = ANY ($1)
    ORDER BY id";

const REFUNDS: &str = "
    SELECT r.payment_id, r.status, r.provider_reference IS NOT NULL AS taken, r.amount, r.currency
    FROM app.refunds AS r JOIN app.payments AS p ON p.id = r.payment_id
    WHERE $1::uuid[] IS NULL OR p.order_id = ANY ($1)";

const LEDGER: &str = "
    SELECT reference, order_id, amount, currency, declined IS NOT NULL AS declined, charge AS gives_back,
           extract(epoch FROM clock_timestamp() - at)::float8 AS age_s
    FROM app.sandbox_ledger
    WHERE ($1::uuid[] IS NULL OR order_id = ANY ($1)) AND status IS DISTINCT FROM 'failed'
    ORDER BY reference";

pub(crate) async fn payment(database: &Transaction<'_>, scope: &Scope, snapshot: &mut Snapshot) -> Result<(), Error> {
    for row in database.query(PAYMENTS, &[&scope.orders]).await? {
        snapshot.payments.push(PaymentRow {
            id: row.try_get("id")?,
            order_id: row.try_get("order_id")?,
            status: row.try_get("status")?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            provider: row.try_get("provider")?,
            will_ask: row.try_get("will_ask")?,
            age_s: row.try_get("age_s")?,
        });
    }
    for row in database.query(REFUNDS, &[&scope.orders]).await? {
        snapshot.refunds.push(RefundRow {
            payment_id: row.try_get("payment_id")?,
            status: row.try_get("status")?,
            taken: row.try_get("taken")?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
        });
    }
    for row in database.query(LEDGER, &[&scope.orders]).await? {
        snapshot.ledger.push(LedgerRow {
            reference: row.try_get("reference")?,
            order_id: row.try_get("order_id")?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            declined: row.try_get("declined")?,
            gives_back: row.try_get("gives_back")?,
            age_s: row.try_get("age_s")?,
        });
    }
    Ok(())
}
