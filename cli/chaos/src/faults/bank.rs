//! Customers and banks that take their time: 3-D Secure, refunds that are pending, and webhooks that come as they like.
//!
//! The sandbox is in one of its modes for a while, and afterwards its books are told what customers and banks did, as nobody
//! tells payment. What must hold then, each fault looks at itself; the comparison with the provider's books at the end of the
//! run sees whatever else is wrong.

mod abandoned;
mod authenticated;
mod refunds;
mod webhooks;

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::fault::Fault;

const LOOK: Duration = Duration::from_millis(500);

/// Customers come back from their banks: half of them have authenticated.
const AUTHENTICATE: &str = "
    WITH ended AS (
        UPDATE app.sandbox_intents
        SET status = CASE hashtext(reference) % 2 WHEN 0 THEN 'succeeded' ELSE 'requires_payment_method' END
        WHERE status = 'requires_action'
        RETURNING reference, order_id, amount, currency, status
    ), entered AS (
        INSERT INTO app.sandbox_ledger (key, kind, reference, order_id, amount, currency, declined)
        SELECT 'challenge-' || reference, 'charge', reference, order_id, amount, currency,
               CASE status WHEN 'succeeded' THEN NULL ELSE 'authentication_failure' END
        FROM ended
        ON CONFLICT (reference) DO UPDATE SET key = excluded.key, declined = excluded.declined
        WHERE sandbox_ledger.declined IS NOT NULL
    )
    SELECT reference, status FROM ended";

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(authenticated::Authenticated),
        Box::new(abandoned::Abandoned),
        Box::new(refunds::Refunds),
        Box::new(webhooks::Webhooks),
    ]
}

/// Looks until this count is 0, for so long; what it was last.
async fn until_none(database: &Client, count: &str, params: &[&(dyn ToSql + Sync)], patience: Duration) -> Result<i64> {
    let begun = Instant::now();
    loop {
        let left: i64 = database.query_one(count, params).await?.get(0);
        if left == 0 || begun.elapsed() > patience {
            return Ok(left);
        }
        tokio::time::sleep(LOOK).await;
    }
}
