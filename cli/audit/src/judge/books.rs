//! The rows, found by what they belong to.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::snapshot::{
    LedgerRow, OrderRow, PaymentRow, PiecesRow, RefundRow, ReservationRow, SaleRow, Snapshot,
};

/// A snapshot with its indexes.
pub(super) struct Books<'a> {
    pub(super) snapshot: &'a Snapshot,
    orders: HashMap<Uuid, &'a OrderRow>,
    demands: HashMap<Uuid, Vec<&'a PiecesRow>>,
    payments: HashMap<Uuid, Vec<&'a PaymentRow>>,
    refunds: HashMap<Uuid, Vec<&'a RefundRow>>,
    ledger: HashMap<Uuid, Vec<&'a LedgerRow>>,
    reservations: HashMap<Uuid, Vec<&'a ReservationRow>>,
    sales: HashMap<Uuid, Vec<&'a SaleRow>>,
}

fn group<T>(rows: &[T], key: impl Fn(&T) -> Uuid) -> HashMap<Uuid, Vec<&T>> {
    let mut groups: HashMap<Uuid, Vec<&T>> = HashMap::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}

fn of<T>(groups: &HashMap<Uuid, Vec<T>>, key: Uuid) -> &[T] {
    groups.get(&key).map_or(&[], Vec::as_slice)
}

impl<'a> Books<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            orders: snapshot.orders.iter().map(|order| (order.id, order)).collect(),
            demands: group(&snapshot.demands, |row| row.order_id),
            payments: group(&snapshot.payments, |row| row.order_id),
            refunds: group(&snapshot.refunds, |row| row.payment_id),
            ledger: group(&snapshot.ledger, |row| row.order_id),
            reservations: group(&snapshot.reservations, |row| row.order_id),
            sales: group(&snapshot.sales, |row| row.order_id),
        }
    }

    pub(super) fn order(&self, id: Uuid) -> Option<&'a OrderRow> {
        self.orders.get(&id).copied()
    }

    pub(super) fn demands(&self, order: Uuid) -> &[&'a PiecesRow] {
        of(&self.demands, order)
    }

    pub(super) fn payments(&self, order: Uuid) -> &[&'a PaymentRow] {
        of(&self.payments, order)
    }

    pub(super) fn refunds(&self, payment: Uuid) -> &[&'a RefundRow] {
        of(&self.refunds, payment)
    }

    pub(super) fn ledger(&self, order: Uuid) -> &[&'a LedgerRow] {
        of(&self.ledger, order)
    }

    pub(super) fn reservations(&self, order: Uuid) -> &[&'a ReservationRow] {
        of(&self.reservations, order)
    }

    pub(super) fn sales(&self, order: Uuid) -> &[&'a SaleRow] {
        of(&self.sales, order)
    }

    /// Seconds since anything of this order changed in any database.
    pub(super) fn age_s(&self, order: Uuid) -> f64 {
        let ages = self.order(order).map(|row| row.age_s).into_iter();
        let ages = ages.chain(self.payments(order).iter().map(|row| row.age_s));
        let ages = ages.chain(self.ledger(order).iter().map(|row| row.age_s));
        ages.chain(self.reservations(order).iter().map(|row| row.age_s)).fold(f64::INFINITY, f64::min)
    }
}

/// Where an order stands, as far as the invariants care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its saga is under way.
    Open,
    /// It was paid and sold.
    Confirmed,
    /// It came to nothing.
    Void,
}

impl OrderRow {
    pub(super) fn stand(&self) -> Stand {
        match self.status.as_str() {
            "confirmed" | "shipped" | "delivered" => Stand::Confirmed,
            "rejected" | "cancelled" | "expired" => Stand::Void,
            _ => Stand::Open,
        }
    }
}
