//! The inventory service's database.

use tokio_postgres::{Error, Transaction};

use crate::scope::Scope;
use crate::snapshot::{Held, ReservationRow, SaleRow, Snapshot, StockRow};

const STOCK: &str = "
    SELECT s.sku, s.on_hand, s.reserved, coalesce(m.moved, 0) AS moved, coalesce(o.open, 0) AS open
    FROM app.stock AS s
    LEFT JOIN (
        SELECT sku, sum(delta)::bigint AS moved FROM app.movements
        WHERE $1::text[] IS NULL OR sku = ANY ($1) GROUP BY sku
    ) AS m ON m.sku = s.sku
    LEFT JOIN (
        SELECT l.sku, sum(l.quantity)::bigint AS open
        FROM app.reservation_lines AS l JOIN app.reservations AS r ON r.order_id = l.order_id
        WHERE r.state = 'reserved' AND ($1::text[] IS NULL OR l.sku = ANY ($1)) GROUP BY l.sku
    ) AS o ON o.sku = s.sku
    WHERE $1::text[] IS NULL OR s.sku = ANY ($1)
    ORDER BY s.sku";

const RESERVATIONS: &str = "
    SELECT order_id, state, extract(epoch FROM clock_timestamp() - updated_at)::float8 AS age_s
    FROM app.reservations
    WHERE $1::uuid[] IS NULL OR order_id = ANY ($1)";

const SALES: &str = "
    SELECT order_id, sku, -sum(delta)::bigint AS pieces, count(*) FILTER (WHERE kind = 'sold') AS times
    FROM app.movements
    WHERE order_id IS NOT NULL AND ($1::uuid[] IS NULL OR order_id = ANY ($1))
    GROUP BY order_id, sku";

pub(crate) async fn inventory(database: &Transaction<'_>, scope: &Scope, snapshot: &mut Snapshot) -> Result<(), Error> {
    for row in database.query(STOCK, &[&scope.skus]).await? {
        snapshot.stock.push(StockRow {
            sku: row.try_get("sku")?,
            on_hand: row.try_get("on_hand")?,
            reserved: row.try_get("reserved")?,
            moved: row.try_get("moved")?,
            open: row.try_get("open")?,
        });
    }
    for row in database.query(RESERVATIONS, &[&scope.orders]).await? {
        snapshot.reservations.push(ReservationRow {
            order_id: row.try_get("order_id")?,
            state: held(row.try_get("state")?),
            age_s: row.try_get("age_s")?,
        });
    }
    for row in database.query(SALES, &[&scope.orders]).await? {
        snapshot.sales.push(SaleRow {
            order_id: row.try_get("order_id")?,
            sku: row.try_get("sku")?,
            pieces: row.try_get("pieces")?,
            times: row.try_get("times")?,
        });
    }
    Ok(())
}

/// A reservation that came to nothing is one whatever the reason. So is one that heard of the confirmation first and
/// waits for the order itself: nothing is sold yet.
fn held(state: &str) -> Held {
    match state {
        "reserved" => Held::Open,
        "sold" => Held::Sold,
        _ => Held::Nothing,
    }
}
