//! The order service's database.

use tokio_postgres::{Error, Row, Transaction};

use crate::scope::Scope;
use crate::snapshot::{AnswerRow, OrderRow, PiecesRow, Snapshot};

const ORDERS: &str = "
    SELECT o.id, o.status, o.total, o.currency, l.total AS lines_total, o.customer_id,
           o.idempotency_key, o.payment_id, o.payment_state,
           coalesce(o.created_at < (
               SELECT max(created_at) FROM app.orders
               WHERE status = 'expired' AND updated_at < clock_timestamp() - interval '60 seconds'), false) AS passed_over,
           extract(epoch FROM clock_timestamp() - o.updated_at)::float8 AS age_s
    FROM app.orders AS o
    LEFT JOIN (SELECT order_id, sum(total)::bigint AS total FROM app.order_lines GROUP BY order_id) AS l
        ON l.order_id = o.id
    WHERE $1::uuid[] IS NULL OR o.id = ANY ($1)
    ORDER BY o.id";

/// The timer is due every five seconds, and its next time is set once its component has accepted a call.
const EXPIRES: &str = "
    SELECT EXISTS (SELECT FROM towpath.timer
                   WHERE name = 'expire-orders' AND next_due > clock_timestamp() - interval '60 seconds')";

const DEMANDS: &str = "
    SELECT order_id, sku, sum(quantity)::bigint AS pieces FROM app.order_lines
    WHERE $1::uuid[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id, sku";

/// Answers under keys live in the relay's own table, as the SDK stores them. Those that hold an order are of interest.
const ANSWERS: &str = "
    SELECT key, order_id::uuid AS order_id
    FROM (SELECT key, answer::jsonb #>> '{body,id}' AS order_id FROM towpath.idempotency) AS a
    WHERE order_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
      AND ($1::uuid[] IS NULL OR order_id = ANY ($1::uuid[]::text[]))";

pub(crate) async fn order(database: &Transaction<'_>, scope: &Scope, snapshot: &mut Snapshot) -> Result<(), Error> {
    snapshot.orders =
        database.query(ORDERS, &[&scope.orders]).await?.iter().map(order_row).collect::<Result<_, _>>()?;
    snapshot.expires = database.query_one(EXPIRES, &[]).await?.try_get(0)?;
    for row in database.query(DEMANDS, &[&scope.orders]).await? {
        snapshot.demands.push(PiecesRow {
            order_id: row.try_get("order_id")?,
            sku: row.try_get("sku")?,
            pieces: row.try_get("pieces")?,
        });
    }
    for row in database.query(ANSWERS, &[&scope.orders]).await? {
        snapshot.answers.push(AnswerRow { key: row.try_get("key")?, order_id: row.try_get("order_id")? });
    }
    Ok(())
}

fn order_row(row: &Row) -> Result<OrderRow, Error> {
    Ok(OrderRow {
        id: row.try_get("id")?,
        status: row.try_get("status")?,
        total: row.try_get("total")?,
        currency: row.try_get("currency")?,
        lines_total: row.try_get("lines_total")?,
        customer: row.try_get("customer_id")?,
        key: row.try_get("idempotency_key")?,
        payment_id: row.try_get("payment_id")?,
        payment_state: row.try_get("payment_state")?,
        passed_over: row.try_get("passed_over")?,
        age_s: row.try_get("age_s")?,
    })
}
