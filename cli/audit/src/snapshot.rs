//! What the audit knows: rows of the databases, and nothing else. Reading fills it, judging looks at it.

use uuid::Uuid;

/// The rows of all databases. Each database was read in one snapshot of its own; between the databases some time
/// went by, which is why rows tell their age.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// From `order`.
    pub orders: Vec<OrderRow>,
    /// From `order`: whether orders that nobody pays expire now, since the timer that expires them is not late.
    pub expires: bool,
    /// From `order`: what each order demands of each SKU, its lines added up.
    pub demands: Vec<PiecesRow>,
    /// From `order`: the ids in the answers that are stored under idempotency keys.
    pub answers: Vec<AnswerRow>,
    /// From `product`: of the SKUs that orders name, those that a product has.
    pub known_skus: Vec<String>,
    /// From `payment`.
    pub payments: Vec<PaymentRow>,
    /// From `payment`.
    pub refunds: Vec<RefundRow>,
    /// From `payment`: the books of the sandbox provider.
    pub ledger: Vec<LedgerRow>,
    /// From `inventory`.
    pub stock: Vec<StockRow>,
    /// From `inventory`.
    pub reservations: Vec<ReservationRow>,
    /// From `inventory`: what each order took out of the stock, as the ledger of movements tells it.
    pub sales: Vec<SaleRow>,
}

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderRow {
    /// Its id.
    pub id: Uuid,
    /// Its status.
    pub status: String,
    /// What it costs, in minor units.
    pub total: i64,
    /// ISO 4217.
    pub currency: String,
    /// What its lines cost together; none where it has no lines.
    pub lines_total: Option<i64>,
    /// Whose order it is.
    pub customer: String,
    /// The key that its customer placed it under.
    pub key: String,
    /// The payment that it names.
    pub payment_id: Option<Uuid>,
    /// What its payment asks of its customer, if it does.
    pub payment_state: Option<String>,
    /// Whether one that was placed later expired a while ago. The oldest expires first, so this one was passed over.
    pub passed_over: bool,
    /// Seconds since it last changed.
    pub age_s: f64,
}

/// A number of pieces of one SKU that belong to one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PiecesRow {
    /// The order.
    pub order_id: Uuid,
    /// The SKU.
    pub sku: String,
    /// How many.
    pub pieces: i64,
}

/// The order that the answer stored under a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRow {
    /// The key.
    pub key: String,
    /// The order.
    pub order_id: Uuid,
}

/// A payment.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentRow {
    /// Its id.
    pub id: Uuid,
    /// The order that it pays.
    pub order_id: Uuid,
    /// Its status.
    pub status: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Who was asked.
    pub provider: String,
    /// Whether the provider will be asked what became of it.
    pub will_ask: bool,
    /// Seconds since it last changed.
    pub age_s: f64,
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRow {
    /// The payment that goes back.
    pub payment_id: Uuid,
    /// Its status.
    pub status: String,
    /// Whether the provider has taken it: what is pending then, a bank works on.
    pub taken: bool,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// An entry in the provider's books.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The provider's name for it.
    pub reference: String,
    /// The order that it was derived from.
    pub order_id: Uuid,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Whether no money moved.
    pub declined: bool,
    /// The charge that it gives back; none where it is a charge.
    pub gives_back: Option<String>,
    /// Seconds since it was written.
    pub age_s: f64,
}

/// The stock of one SKU, beside what the other tables make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockRow {
    /// The SKU.
    pub sku: String,
    /// As it stands there.
    pub on_hand: i64,
    /// As it stands there.
    pub reserved: i64,
    /// The sum of its movements.
    pub moved: i64,
    /// The sum of its open reservations.
    pub open: i64,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq)]
pub struct ReservationRow {
    /// The order that it serves.
    pub order_id: Uuid,
    /// What became of it.
    pub state: Held,
    /// Seconds since it last changed.
    pub age_s: f64,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The pieces are promised.
    Open,
    /// The pieces were sold.
    Sold,
    /// The pieces are free again, or there never were any.
    Nothing,
}

/// What one order took of one SKU, by the ledger of movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleRow {
    /// The order.
    pub order_id: Uuid,
    /// The SKU.
    pub sku: String,
    /// Pieces out of the house, less those that came back.
    pub pieces: i64,
    /// How many times pieces went out.
    pub times: i64,
}
