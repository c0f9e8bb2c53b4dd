//! All SQL of the inventory service, its parameters, and reading its rows.
//!
//! A unit of work that touches several SKUs locks their rows in the order of the SKU first, so that two can't deadlock.
//! One that moves a reservation names the state that it moves from, so that none is moved twice.

use serde_json::{Value, json};
use towpath_sdk::{Id, Problem, Query, Rows, UnitOfWork};

use crate::domain::{Demand, MAX_ON_HAND, Movement, State, Stock};

const STOCK: &str = "SELECT sku, on_hand, reserved, available FROM stock WHERE sku = $1";
const CREATE: &str = "INSERT INTO stock (sku) VALUES ($1) ON CONFLICT (sku) DO NOTHING";
const ADJUST: &str = "UPDATE stock SET on_hand = on_hand + $2, updated_at = now() \
     WHERE sku = $1 AND on_hand + $2 >= reserved AND on_hand + $2 <= $3";
/// Of no stock there is nothing to record. Where inventory has not heard of a product yet, this runs behind [`ADJUST`] before
/// that one's count is known: it must not fail, or PostgreSQL logs an error for what is none.
const RECORD_ADJUSTMENT: &str = "INSERT INTO movements (id, sku, delta, kind, reason, at, idempotency_key, request_hash) \
     SELECT $1::uuid, sku, $3::bigint, 'adjusted', $4::text, $5::timestamptz, $6::text, $7::text \
     FROM stock WHERE sku = $2";
const MOVEMENT_BY_KEY: &str =
    "SELECT id, sku, delta, reason, at, request_hash FROM movements WHERE idempotency_key = $1";

const STATE: &str = "SELECT state FROM reservations WHERE order_id = $1";
const FIRST_STATE: &str =
    "INSERT INTO reservations (order_id, state) VALUES ($1, $2) ON CONFLICT (order_id) DO NOTHING";
const NEXT_STATE: &str = "UPDATE reservations SET state = $3, updated_at = now() WHERE order_id = $1 AND state = $2";

const LOCK_DEMAND: &str = "SELECT sku FROM stock WHERE sku = ANY($1::text[]) ORDER BY sku FOR NO KEY UPDATE";
const RESERVE: &str = "UPDATE stock SET reserved = stock.reserved + demand.quantity, updated_at = now() \
     FROM unnest($1::text[], $2::bigint[]) AS demand (sku, quantity) \
     WHERE stock.sku = demand.sku AND stock.on_hand - stock.reserved >= demand.quantity";
const TAKE_UNRESERVED: &str = "UPDATE stock SET on_hand = stock.on_hand - demand.quantity, updated_at = now() \
     FROM unnest($1::text[], $2::bigint[]) AS demand (sku, quantity) \
     WHERE stock.sku = demand.sku AND stock.on_hand - stock.reserved >= demand.quantity";
const LINES: &str = "INSERT INTO reservation_lines (order_id, sku, quantity) \
     SELECT $1::uuid, demand.sku, demand.quantity FROM unnest($2::text[], $3::bigint[]) AS demand (sku, quantity)";

const LOCK_LINES: &str = "SELECT stock.sku FROM stock JOIN reservation_lines AS line ON line.sku = stock.sku \
     WHERE line.order_id = $1 ORDER BY stock.sku FOR NO KEY UPDATE OF stock";
/// Adds the lines' quantities, times two factors, to what is on hand and what is reserved.
const MOVE_LINES: &str = "UPDATE stock SET on_hand = stock.on_hand + $2::bigint * line.quantity, \
     reserved = stock.reserved + $3::bigint * line.quantity, updated_at = now() \
     FROM reservation_lines AS line WHERE line.order_id = $1 AND stock.sku = line.sku";
const RECORD_LINES: &str = "INSERT INTO movements (id, sku, delta, kind, order_id) \
     SELECT gen_random_uuid(), sku, $2::bigint * quantity, $3, order_id FROM reservation_lines WHERE order_id = $1";

/// Every SQL text of this service, by name.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("stock", STOCK),
    ("create", CREATE),
    ("adjust", ADJUST),
    ("record_adjustment", RECORD_ADJUSTMENT),
    ("movement_by_key", MOVEMENT_BY_KEY),
    ("state", STATE),
    ("first_state", FIRST_STATE),
    ("next_state", NEXT_STATE),
    ("lock_demand", LOCK_DEMAND),
    ("reserve", RESERVE),
    ("take_unreserved", TAKE_UNRESERVED),
    ("lines", LINES),
    ("lock_lines", LOCK_LINES),
    ("move_lines", MOVE_LINES),
    ("record_lines", RECORD_LINES),
];

/// The label of the step that fails if the reservation has another state.
pub const MOVED_ON: &str = "moved_on";
/// The label of the step that fails if there is too little stock.
pub const OUT_OF_STOCK: &str = "out_of_stock";
/// The index that an adjustment violates if its key was used before and the relay has deleted it.
pub const KEY_USED: &str = "movements_idempotency_key";
/// The label of the step that fails if the adjustment is not possible.
pub const NOT_ADJUSTED: &str = "not_adjusted";

/// The stock of a SKU.
pub(crate) fn stock(sku: &str) -> Query {
    Query::new(STOCK, [json!(sku)])
}

/// Reads it.
pub(crate) fn read_stock(rows: &Rows) -> Result<Option<Stock>, Problem> {
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Stock {
        sku: row.get("sku")?,
        on_hand: row.get("on_hand")?,
        reserved: row.get("reserved")?,
        available: row.get("available")?,
    }))
}

/// What inventory knows of an order.
pub(crate) fn state(order: Id) -> Query {
    Query::new(STATE, [json!(order)])
}

/// Reads it.
pub(crate) fn read_state(rows: &Rows) -> Result<Option<State>, Problem> {
    let Some(row) = rows.first() else { return Ok(None) };
    let state: String = row.get("state")?;
    let unknown = || Problem::internal(format!("there is no state {state}"));
    State::parse(&state).map(Some).ok_or_else(unknown)
}

/// Creates the stock of a SKU, with no pieces, if there is none.
pub fn create(unit: UnitOfWork, sku: &str) -> UnitOfWork {
    unit.step(CREATE, [json!(sku)])
}

/// Adjusts the stock, and records the reason in the ledger, which keeps the client's key for ever.
pub fn adjust(unit: UnitOfWork, movement: &Movement, key: &str, hash: &str) -> UnitOfWork {
    let Movement { id, sku, delta, reason, created_at } = movement;
    let record = [json!(id), json!(sku), json!(delta), json!(reason), json!(created_at), json!(key), json!(hash)];
    unit.step(ADJUST, [json!(sku), json!(delta), json!(MAX_ON_HAND)])
        .expect(1, NOT_ADJUSTED)
        .step(RECORD_ADJUSTMENT, record)
}

/// The movement that was recorded with this key.
pub(crate) fn movement_by_key(key: &str) -> Query {
    Query::new(MOVEMENT_BY_KEY, [json!(key)])
}

/// Reads it, with the hash of its request.
pub(crate) fn read_movement(rows: &Rows) -> Result<Option<(Movement, String)>, Problem> {
    let Some(row) = rows.first() else { return Ok(None) };
    let movement = Movement {
        id: row.get("id")?,
        sku: row.get("sku")?,
        delta: row.get("delta")?,
        reason: row.get("reason")?,
        created_at: row.get("at")?,
    };
    Ok(Some((movement, row.get("request_hash")?)))
}

/// Moves the order from one state to the next. The unit of work rolls back if it has another state.
pub(crate) fn go(unit: UnitOfWork, order: Id, from: Option<State>, to: State) -> UnitOfWork {
    match from {
        None => unit.step(FIRST_STATE, [json!(order), json!(to.as_str())]),
        Some(from) => unit.step(NEXT_STATE, [json!(order), json!(from.as_str()), json!(to.as_str())]),
    }
    .expect(1, MOVED_ON)
}

/// Reserves what the order demands.
pub(crate) fn reserve(unit: UnitOfWork, order: Id, demand: &Demand) -> UnitOfWork {
    demanding(unit, RESERVE, order, demand)
}

/// Sells what the order demands, without a reservation before.
pub(crate) fn sell_unreserved(unit: UnitOfWork, order: Id, demand: &Demand) -> UnitOfWork {
    record(demanding(unit, TAKE_UNRESERVED, order, demand), order, -1, "sold")
}

/// Sells what is reserved.
pub(crate) fn sell(unit: UnitOfWork, order: Id) -> UnitOfWork {
    record(move_lines(unit, order, -1, -1), order, -1, "sold")
}

/// Releases what is reserved.
pub(crate) fn release(unit: UnitOfWork, order: Id) -> UnitOfWork {
    move_lines(unit, order, 0, -1)
}

/// Puts what was sold back into stock.
pub(crate) fn take_back(unit: UnitOfWork, order: Id) -> UnitOfWork {
    record(move_lines(unit, order, 1, 0), order, 1, "returned")
}

fn demanding(unit: UnitOfWork, sql: &str, order: Id, demand: &Demand) -> UnitOfWork {
    let count = demand.len() as u64;
    let skus: Value = demand.keys().cloned().collect();
    let quantities: Value = demand.values().copied().collect();
    // A single row can't deadlock.
    let unit = if count > 1 { unit.step(LOCK_DEMAND, [skus.clone()]) } else { unit };
    unit.step(sql, [skus.clone(), quantities.clone()])
        .expect(count, OUT_OF_STOCK)
        .step(LINES, [json!(order), skus, quantities])
}

fn move_lines(unit: UnitOfWork, order: Id, on_hand: i64, reserved: i64) -> UnitOfWork {
    unit.step(LOCK_LINES, [json!(order)])
        .step(MOVE_LINES, [json!(order), json!(on_hand), json!(reserved)])
        .expect_at_least(1, "no_lines")
}

fn record(unit: UnitOfWork, order: Id, sign: i64, kind: &str) -> UnitOfWork {
    unit.step(RECORD_LINES, [json!(order), json!(sign), json!(kind)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_names_its_skus_in_order_and_counts_them() {
        let demand: Demand = [("B".into(), 2), ("A".into(), 1)].into();
        let request = reserve(UnitOfWork::new(), Id::new(), &demand).into_request();
        assert_eq!(request.steps[0].sql, LOCK_DEMAND);
        assert_eq!(request.steps[1].params, [json!(["A", "B"]), json!([1, 2])]);
        assert_eq!(request.steps[1].expect, Some(towpath_sdk::wire::Expect::Exactly(2)));
        assert_eq!(request.steps[1].label.as_deref(), Some(OUT_OF_STOCK));
    }

    #[test]
    fn every_move_of_a_reservation_is_guarded() {
        for from in [None, Some(State::Reserved)] {
            let request = go(UnitOfWork::new(), Id::new(), from, State::Sold).into_request();
            assert_eq!(request.steps[0].expect, Some(towpath_sdk::wire::Expect::Exactly(1)));
            assert_eq!(request.steps[0].label.as_deref(), Some(MOVED_ON));
        }
    }
}
