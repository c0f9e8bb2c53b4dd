//! The payments and refunds of the payment service.

use anyhow::{Context, Result};
use tokio_postgres::{Client, Error, Row, Transaction};
use uuid::Uuid;

use super::record::{Payment, Returned};
use super::spill::{Record, Spill};

/// Rows that are in memory at a time.
pub(super) const MAX_ROWS: i32 = 1000;

const PROVIDERS: &str = "SELECT name FROM unnest(ARRAY['sandbox', 'stripe']) AS name
    WHERE EXISTS (SELECT FROM app.payments WHERE provider = name)";

const WITHOUT_INTENT: &str = "SELECT count(*) FROM app.payments WHERE provider = $1 AND provider_reference IS NULL";

macro_rules! select {
    ($where:literal) => {
        concat!(
            "SELECT p.id, p.order_id, p.status, p.amount, p.currency, p.provider_reference,
                extract(epoch FROM now() - p.updated_at)::float8 AS age_s, p.intent_closed,
                extract(epoch FROM p.ask_at - now())::float8 AS payment_ask_in_s,
                r.id AS refund, r.status AS refund_status, r.amount AS refund_amount, r.currency AS refund_currency,
                r.provider_reference AS refund_reference,
                extract(epoch FROM r.ask_at - now())::float8 AS ask_in_s
             FROM app.payments AS p LEFT JOIN app.refunds AS r ON r.payment_id = p.id
             WHERE p.provider = $1 AND ",
            $where
        )
    };
}

const WITH_INTENT: &str = select!("p.provider_reference IS NOT NULL");
const OF_ORDERS: &str = select!("p.order_id = ANY ($2)");

/// The providers that some payment was asked of.
pub(super) async fn providers(database: &Client) -> Result<Vec<String>> {
    let rows = database.query(PROVIDERS, &[]).await.context("cannot read the payments")?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Spills every payment that has an intent; how many have none.
pub(super) async fn list(database: &Transaction<'_>, provider: &str, spill: &mut Spill) -> Result<u64> {
    let portal = database.bind(WITH_INTENT, &[&provider]).await.context("cannot read the payments")?;
    loop {
        let rows = database.query_portal(&portal, MAX_ROWS).await.context("cannot read the payments")?;
        for row in &rows {
            let (intent, payment): (String, _) = (row.try_get("provider_reference")?, read(row)?);
            spill.add(&intent, &Record::Payment(payment))?;
        }
        if rows.is_empty() {
            break;
        }
    }
    let without: i64 = database.query_one(WITHOUT_INTENT, &[&provider]).await?.try_get(0)?;
    Ok(without.unsigned_abs())
}

/// The payments of these orders.
pub(super) async fn of_orders(database: &Transaction<'_>, provider: &str, orders: &[Uuid]) -> Result<Vec<Payment>> {
    let rows = database.query(OF_ORDERS, &[&provider, &orders]).await.context("cannot read the payments")?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

fn read(row: &Row) -> Result<Payment, Error> {
    let refund = match row.try_get::<_, Option<Uuid>>("refund")? {
        None => None,
        Some(_) => Some(Returned {
            status: row.try_get("refund_status")?,
            amount: row.try_get("refund_amount")?,
            currency: row.try_get("refund_currency")?,
            reference: row.try_get("refund_reference")?,
            ask_in_s: row.try_get("ask_in_s")?,
        }),
    };
    Ok(Payment {
        id: row.try_get("id")?,
        order_id: row.try_get("order_id")?,
        status: row.try_get("status")?,
        amount: row.try_get("amount")?,
        currency: row.try_get("currency")?,
        age_s: row.try_get("age_s")?,
        closed: row.try_get("intent_closed")?,
        ask_in_s: row.try_get("payment_ask_in_s")?,
        refund,
    })
}
