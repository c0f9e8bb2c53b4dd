//! Each invariant, broken one way at a time, on rows.

use uuid::Uuid;

use super::super::report::Report;
use super::super::snapshot::{
    AnswerRow, Held, LedgerRow, OrderRow, PaymentRow, PiecesRow, RefundRow, ReservationRow, SaleRow, Snapshot, StockRow,
};
use super::{Answered, Rules, judge};

const SKU: &str = "ROPE";
/// The orders of `world`, by where they stand.
const CONFIRMED: Uuid = Uuid::from_u128(1);
const REJECTED: Uuid = Uuid::from_u128(2);
const CANCELLED: Uuid = Uuid::from_u128(3);

fn order(id: Uuid, status: &str) -> OrderRow {
    OrderRow {
        id,
        status: status.into(),
        total: 300,
        currency: "EUR".into(),
        lines_total: Some(300),
        customer: "c".into(),
        key: format!("key-{}", id.as_u128()),
        payment_id: Some(id),
        payment_state: None,
        passed_over: false,
        age_s: 60.0,
    }
}

/// The payment of an order has the order's own id here.
fn payment(order_id: Uuid, status: &str) -> PaymentRow {
    PaymentRow {
        id: order_id,
        order_id,
        status: status.into(),
        amount: 300,
        currency: "EUR".into(),
        provider: "sandbox".into(),
        will_ask: false,
        age_s: 60.0,
    }
}

fn charge(order_id: Uuid, declined: bool) -> LedgerRow {
    let reference = format!("ch-{}", order_id.as_u128());
    LedgerRow { reference, order_id, amount: 300, currency: "EUR".into(), declined, gives_back: None, age_s: 60.0 }
}

fn given_back(order_id: Uuid) -> LedgerRow {
    let charge = charge(order_id, false);
    LedgerRow { reference: format!("re-{}", order_id.as_u128()), gives_back: Some(charge.reference.clone()), ..charge }
}

fn held(order_id: Uuid, state: Held) -> ReservationRow {
    ReservationRow { order_id, state, age_s: 60.0 }
}

/// Three pieces sold to one order, one order declined, one cancelled after it had been confirmed: nothing is wrong.
fn world() -> Snapshot {
    let orders = [CONFIRMED, REJECTED, CANCELLED];
    Snapshot {
        orders: vec![order(CONFIRMED, "confirmed"), order(REJECTED, "rejected"), order(CANCELLED, "cancelled")],
        demands: orders.map(|order_id| PiecesRow { order_id, sku: SKU.into(), pieces: 3 }).into(),
        expires: false,
        answers: vec![AnswerRow { key: "key-1".into(), order_id: CONFIRMED }],
        known_skus: vec![SKU.into()],
        payments: vec![payment(CONFIRMED, "captured"), payment(REJECTED, "declined"), payment(CANCELLED, "refunded")],
        refunds: vec![RefundRow {
            payment_id: CANCELLED,
            status: "succeeded".into(),
            taken: true,
            amount: 300,
            currency: "EUR".into(),
        }],
        ledger: vec![charge(CONFIRMED, false), charge(REJECTED, true), charge(CANCELLED, false), given_back(CANCELLED)],
        stock: vec![StockRow { sku: SKU.into(), on_hand: 7, reserved: 0, moved: 7, open: 0 }],
        reservations: vec![held(CONFIRMED, Held::Sold), held(REJECTED, Held::Nothing), held(CANCELLED, Held::Nothing)],
        sales: vec![
            SaleRow { order_id: CONFIRMED, sku: SKU.into(), pieces: 3, times: 1 },
            SaleRow { order_id: CANCELLED, sku: SKU.into(), pieces: 0, times: 1 },
        ],
    }
}

fn look(snapshot: &Snapshot) -> Report {
    judge(snapshot, &Rules { grace_s: 10.0, answered: Vec::new(), may_wait: true })
}

/// The numbers of the invariants that this change breaks.
fn broken_by(change: impl FnOnce(&mut Snapshot)) -> Vec<u8> {
    let mut snapshot = world();
    change(&mut snapshot);
    broken(&look(&snapshot))
}

fn broken(report: &Report) -> Vec<u8> {
    report.invariants.iter().filter(|one| !one.broken.is_empty()).map(|one| one.number).collect()
}

#[test]
fn a_world_in_order_is_clean() {
    let report = look(&world());
    assert!(report.is_settled(), "{report}");
    assert_eq!(report.invariants.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(report.invariants[0].examined, 3);
    assert!(look(&Snapshot::default()).is_settled());
}

#[test]
fn the_first_is_broken_by_orders_that_are_missing_doubled_or_not_whole() {
    assert_eq!(broken_by(|rows| rows.orders[1].key = rows.orders[0].key.clone()), [1]);
    let of_another_customer = broken_by(|rows| {
        rows.orders[1].key = rows.orders[0].key.clone();
        rows.orders[1].customer = "another".into();
    });
    assert!(of_another_customer.is_empty(), "a key belongs to its customer");
    assert_eq!(broken_by(|rows| rows.orders[0].lines_total = Some(299)), [1]);
    assert_eq!(broken_by(|rows| rows.orders[1].lines_total = None), [1]);
    assert_eq!(broken_by(|rows| rows.known_skus.clear()), [1]);
    assert_eq!(broken_by(|rows| rows.answers[0].order_id = Uuid::from_u128(9)), [1]);
    assert_eq!(broken_by(|rows| rows.payments.push(payment(Uuid::from_u128(9), "declined"))), [1]);
    assert_eq!(broken_by(|rows| rows.reservations.push(held(Uuid::from_u128(9), Held::Nothing))), [1]);
}

#[test]
fn the_first_is_broken_by_an_answer_that_is_not_true() {
    let answered = |id: u128, key: &str| Answered { id: Uuid::from_u128(id), key: Some(key.into()) };
    let look = |answer| judge(&world(), &Rules { grace_s: 10.0, answered: vec![answer], may_wait: true });
    assert!(look(answered(1, "key-1")).is_clean());
    assert_eq!(broken(&look(answered(1, "key-2"))), [1]);
    assert_eq!(broken(&look(answered(9, "key-9"))), [1]);
}

#[test]
fn the_second_is_broken_where_confirmed_and_paid_and_sold_part() {
    assert_eq!(broken_by(|rows| rows.payments[0].status = "pending".into()), [2, 5], "and the charge is unrecorded");
    assert_eq!(broken_by(|rows| rows.payments[0].amount = 299), [2]);
    assert_eq!(broken_by(|rows| rows.payments[0].currency = "USD".into()), [2]);
    assert_eq!(broken_by(|rows| rows.orders[0].payment_id = None), [2]);
    assert_eq!(broken_by(|rows| rows.orders[0].payment_id = Some(REJECTED)), [2]);
    let second = PaymentRow { id: Uuid::from_u128(9), ..payment(CONFIRMED, "captured") };
    assert_eq!(broken_by(|rows| rows.payments.push(second)), [2]);
    assert_eq!(broken_by(|rows| rows.reservations[0].state = Held::Open), [2]);
    assert_eq!(broken_by(|rows| rows.reservations[1].state = Held::Sold), [2]);
    assert_eq!(broken_by(|rows| _ = rows.reservations.remove(0)), [2]);
    assert_eq!(broken_by(|rows| rows.sales[0].pieces = 2), [2]);
    assert_eq!(broken_by(|rows| rows.sales[0].times = 2), [2]);
    assert_eq!(broken_by(|rows| rows.sales[0].sku = "OAR".into()), [2]);
    assert_eq!(broken_by(|rows| rows.sales[1].pieces = 3), [2], "cancelled, and its stock stayed away");
    assert_eq!(broken_by(|rows| rows.orders[0].status = "shipped".into()), [0; 0]);
}

#[test]
fn the_third_is_broken_by_stock_that_its_books_do_not_explain() {
    assert_eq!(broken_by(|rows| (rows.stock[0].on_hand, rows.stock[0].moved) = (-1, -1)), [3]);
    assert_eq!(broken_by(|rows| (rows.stock[0].reserved, rows.stock[0].open) = (8, 8)), [3]);
    assert_eq!(broken_by(|rows| rows.stock[0].moved = 8), [3]);
    assert_eq!(broken_by(|rows| rows.stock[0].open = 1), [3]);
}

#[test]
fn the_fourth_is_broken_by_an_order_that_stands_still() {
    let stuck = |rows: &mut Snapshot, status: &str| {
        rows.orders[1].status = status.into();
        rows.payments.remove(1);
        rows.ledger.remove(1);
    };
    assert_eq!(broken_by(|rows| stuck(rows, "pending")), [4]);
    assert_eq!(broken_by(|rows| stuck(rows, "reserved")), [4]);
    assert_eq!(broken_by(|rows| rows.reservations[1].state = Held::Open), [4]);
}

#[test]
fn an_order_that_waits_is_in_flight_while_orders_expire_and_broken_where_it_can_never_end() {
    let waits = |status: &str, asks: Option<&str>| {
        let mut rows = world();
        rows.expires = true;
        rows.orders[1] = OrderRow { payment_state: asks.map(Into::into), ..order(REJECTED, "reserved") };
        rows.payments[1].status = status.into();
        rows.reservations[1].state = Held::Open;
        rows.ledger.remove(1);
        rows
    };
    let (action, method) = (Some("requires_action"), Some("requires_payment_method"));
    for (status, asks) in
        [("requires_action", action), ("declined", method), ("processing", None), ("processing", action)]
    {
        let rows = waits(status, asks);
        let report = look(&rows);
        assert!(report.is_clean(), "{status}: {report}");
        let [found] = report.invariants[3].in_flight.as_slice() else { panic!("{status}: named: {report}") };
        assert!(found.what.contains("waits for its customer or a bank"), "{}", found.what);
        let late = Snapshot { expires: false, ..rows.clone() };
        assert_eq!(broken(&look(&late)), [4], "{status}: nothing expires it");
        let mut passed_over = rows.clone();
        passed_over.orders[1].passed_over = true;
        assert_eq!(broken(&look(&passed_over)), [4], "{status}: others expired, and it didn't");
        let end = judge(&rows, &Rules { grace_s: 10.0, answered: Vec::new(), may_wait: false });
        assert_eq!(broken(&end), [4], "{status}: whoever waits for its end waits for it");
    }
    for (status, asks) in [("pending", None), ("captured", action), ("requires_action", None), ("declined", None)] {
        assert!(broken(&look(&waits(status, asks))).contains(&4), "{status}: nobody is waited for");
    }
    let mut unreserved = waits("requires_action", action);
    unreserved.orders[1].status = "pending".into();
    assert_eq!(broken(&look(&unreserved)), [4]);
}

#[test]
fn a_bank_may_still_work_on_the_payment_of_an_ended_order_while_it_is_asked() {
    let works = |will_ask| {
        let mut rows = world();
        rows.payments[1] = PaymentRow { will_ask, ..payment(REJECTED, "processing") };
        rows.ledger.remove(1);
        rows
    };
    assert!(look(&works(true)).is_clean());
    assert_eq!(broken(&look(&works(false))), [5], "nobody asks the bank");
    let end = judge(&works(true), &Rules { grace_s: 10.0, answered: Vec::new(), may_wait: false });
    assert_eq!(broken(&end), [5]);
}

#[test]
fn the_fifth_is_broken_by_money_that_stays_or_goes_back_wrongly() {
    assert_eq!(broken_by(|rows| rows.payments[2].status = "captured".into()), [5]);
    assert_eq!(broken_by(|rows| rows.payments[2].status = "refund_pending".into()), [5]);
    assert_eq!(broken_by(|rows| rows.refunds.clear()), [5]);
    assert_eq!(broken_by(|rows| rows.refunds.push(rows.refunds[0].clone())), [5]);
    assert_eq!(broken_by(|rows| rows.refunds[0].amount = 299), [5]);
    assert_eq!(broken_by(|rows| rows.payments[1].status = "pending".into()), [5]);
    let refund = |rows: &Snapshot| RefundRow { payment_id: CONFIRMED, ..rows.refunds[0].clone() };
    assert_eq!(broken_by(|rows| rows.refunds.push(refund(rows))), [5]);
}

#[test]
fn a_refund_that_a_bank_works_on_is_no_fault_and_a_payment_that_needs_a_person_is_one() {
    let pending = |taken| {
        move |rows: &mut Snapshot| {
            rows.payments[2].status = "refund_pending".into();
            rows.refunds[0].status = "pending".into();
            rows.refunds[0].taken = taken;
        }
    };
    assert!(broken_by(pending(true)).is_empty());
    assert_eq!(broken_by(pending(false)), [5], "the provider doesn't know it");
    assert_eq!(broken_by(|rows| rows.payments[2].status = "needs_attention".into()), [5]);
    let lost = |rows: &mut Snapshot| {
        rows.payments[2].status = "needs_attention".into();
        rows.refunds[0].status = "failed".into();
        rows.ledger.pop();
    };
    assert_eq!(broken_by(lost), [5]);
    assert!(
        broken_by(|rows| {
            rows.payments[2].status = "cancelled".into();
            rows.refunds.clear();
            rows.ledger.truncate(2);
        })
        .is_empty()
    );
}

#[test]
fn the_fifth_is_broken_where_the_providers_books_say_otherwise() {
    assert_eq!(broken_by(|rows| rows.ledger[1].declined = false), [5], "charged, recorded as declined");
    assert_eq!(broken_by(|rows| drop(rows.ledger.pop())), [5], "never given back");
    assert_eq!(broken_by(|rows| drop(rows.ledger.remove(0))), [5], "captured without a charge");
    assert_eq!(broken_by(|rows| rows.ledger[0].amount = 301), [5]);
    assert_eq!(broken_by(|rows| rows.ledger[3].amount = 299), [5]);
    assert_eq!(broken_by(|rows| rows.ledger.push(given_back(CONFIRMED))), [5]);
    assert_eq!(broken_by(|rows| rows.ledger.push(given_back(CANCELLED))), [5], "given back twice");
    let again = LedgerRow { reference: "ch-again".into(), ..charge(CONFIRMED, false) };
    assert_eq!(broken_by(|rows| rows.ledger.push(again)), [5], "charged twice");
}

#[test]
fn what_is_young_is_in_flight_and_what_one_transaction_decides_is_not() {
    let mut rows = world();
    rows.orders[1].status = "pending".into();
    rows.orders[1].age_s = 1.0;
    rows.payments.remove(1);
    rows.ledger.remove(1);
    rows.payments[1].status = "refund_pending".into();
    let report = look(&rows);
    assert_eq!(broken(&report), [5], "the refund is as old as its order");
    assert_eq!(report.invariants[3].in_flight.len(), 1);
    assert!(!report.is_settled() && !report.is_lost());

    rows.payments[1].age_s = 1.0;
    assert!(look(&rows).is_clean());
    rows.stock[0].open = 1;
    let report = look(&rows);
    assert_eq!(broken(&report), [3]);
    assert!(report.is_lost());
}

#[test]
fn a_report_names_what_is_broken() {
    let mut rows = world();
    rows.stock[0].moved = 8;
    let text = look(&rows).to_string();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("BROKEN by 1") && text.contains("BROKEN  ROPE: 7 on hand"), "{text}");
    let columns: Vec<_> = text.lines().filter_map(|line| line.find("  ok").or(line.find("  BROKEN by"))).collect();
    assert!(
        columns.len() == 5 && columns.windows(2).all(|pair| pair[0] == pair[1]),
        "the verdicts stand in one column: {text}"
    );
}
