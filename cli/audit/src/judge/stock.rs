//! 3. `available >= 0` always; on-hand stock equals the sum of the ledger; reserved stock equals the sum of open
//!    reservations.

use super::super::report::Invariant;
use super::super::snapshot::Snapshot;

/// All of it lies in one database and one snapshot, so there is no moment in which it may be otherwise.
pub(super) fn judge(snapshot: &Snapshot) -> Invariant {
    let mut verdict = Invariant::new(3, "stock: never negative, and as its books say", "SKUs", snapshot.stock.len());
    for stock in &snapshot.stock {
        let (on_hand, reserved) = (stock.on_hand, stock.reserved);
        if reserved < 0 || on_hand < reserved {
            verdict.never(&stock.sku, format!("{on_hand} on hand, {reserved} reserved"));
        }
        if on_hand != stock.moved {
            verdict.never(&stock.sku, format!("{on_hand} on hand, but the movements sum up to {}", stock.moved));
        }
        if reserved != stock.open {
            verdict.never(&stock.sku, format!("{reserved} reserved, but open reservations sum up to {}", stock.open));
        }
    }
    verdict
}
