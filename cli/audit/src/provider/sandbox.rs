//! The sandbox's own books, which stand in the payment database beside the payments.

use anyhow::Result;
use tokio_postgres::Transaction;

use super::payments::MAX_ROWS;
use super::record::{Intent, Refund};
use super::spill::{Record, Spill};

/// An intent is charged as much as the ledger says.
const INTENTS: &str = "
    SELECT i.reference, i.order_id, i.status, i.amount, coalesce(l.amount, 0) AS received, lower(i.currency) AS currency,
           extract(epoch FROM i.at)::float8 AS created
    FROM app.sandbox_intents AS i
    LEFT JOIN app.sandbox_ledger AS l ON l.reference = i.reference AND l.kind = 'charge' AND l.declined IS NULL";

const REFUNDS: &str = "
    SELECT reference, charge, order_id, coalesce(status, 'succeeded') AS status, amount, lower(currency) AS currency,
           extract(epoch FROM at)::float8 AS created
    FROM app.sandbox_ledger WHERE kind = 'refund'";

/// Spills all of it.
pub(super) async fn list(database: &Transaction<'_>, spill: &mut Spill) -> Result<()> {
    let portal = database.bind(INTENTS, &[]).await?;
    loop {
        let rows = database.query_portal(&portal, MAX_ROWS).await?;
        for row in &rows {
            let intent = Intent {
                reference: row.try_get("reference")?,
                order_id: row.try_get("order_id")?,
                status: row.try_get("status")?,
                amount: row.try_get("amount")?,
                received: row.try_get("received")?,
                currency: row.try_get("currency")?,
                created: row.try_get("created")?,
            };
            spill.add(&intent.reference.clone(), &Record::Intent(intent))?;
        }
        if rows.is_empty() {
            break;
        }
    }
    let portal = database.bind(REFUNDS, &[]).await?;
    loop {
        let rows = database.query_portal(&portal, MAX_ROWS).await?;
        for row in &rows {
            let charge: String = row.try_get("charge")?;
            let refund = Refund {
                reference: row.try_get("reference")?,
                order_id: row.try_get("order_id")?,
                status: row.try_get("status")?,
                amount: row.try_get("amount")?,
                currency: row.try_get("currency")?,
                created: row.try_get("created")?,
            };
            spill.add(&charge, &Record::Refund(refund))?;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}
