//! The audit against real databases: migrated as every installation is, filled with a small world in order, and then
//! broken by hand, one thing at a time.

mod provider;
mod stripe;
mod world;

use towpath_audit::{Answered, Report, Rules, Scope};
use uuid::Uuid;

/// One way to break the world: in whose database, by which SQL, and what the audit must find.
struct Break {
    service: &'static str,
    sql: &'static str,
    /// The invariants that it breaks.
    finds: &'static [u8],
    /// Part of a finding: the id that it names.
    id: &'static str,
}

/// Looks with no grace: the world is at rest.
fn strictly() -> Rules {
    Rules::default()
}

fn broken(report: &Report) -> Vec<u8> {
    report.invariants.iter().filter(|one| !one.broken.is_empty()).map(|one| one.number).collect()
}

#[tokio::test]
async fn a_world_in_order_is_clean() {
    let world = world::in_order().await;
    let report = towpath_audit::once(&world.for_audit(), &Scope::all(), &strictly()).await.expect("the audit reads");
    assert!(report.is_settled(), "{report}");
    let examined: Vec<usize> = report.invariants.iter().map(|one| one.examined).collect();
    assert_eq!(examined, [5, 5, 2, 5, 3], "orders, orders, SKUs, orders, payments");
}

#[tokio::test]
async fn each_break_is_caught_and_named() {
    let world = world::in_order().await;
    for Break { service, sql, finds, id } in BREAKS {
        let copy = world.with(service, sql).await;
        let report = towpath_audit::once(&copy.for_audit(), &Scope::all(), &strictly()).await.expect("the audit reads");
        assert_eq!(broken(&report), *finds, "{service}: {sql}\n{report}");
        let named = report.invariants.iter().flat_map(|one| &one.broken).any(|finding| finding.id.ends_with(id));
        assert!(named, "{service}: {sql}: names {id}\n{report}");
    }
}

#[tokio::test]
async fn an_order_that_was_answered_and_is_not_there_is_caught() {
    let world = world::in_order().await;
    let look = async |answered: Answered| {
        let rules = Rules { answered: vec![answered], ..strictly() };
        towpath_audit::once(&world.for_audit(), &Scope::all(), &rules).await.expect("the audit reads")
    };
    let confirmed: Uuid = world::CONFIRMED.parse().expect("an id");
    assert!(look(Answered { id: confirmed, key: Some("key-1".into()) }).await.is_clean());
    assert_eq!(broken(&look(Answered { id: confirmed, key: Some("key-2".into()) }).await), [1]);
    assert_eq!(broken(&look(Answered { id: Uuid::now_v7(), key: None }).await), [1]);
}

#[tokio::test]
async fn what_is_out_of_scope_is_not_looked_at() {
    let world = world::in_order().await;
    let broken_elsewhere = world.with("inventory", "UPDATE stock SET on_hand = 99 WHERE sku = 'OAR'").await;
    let scope = |sku: &str| Scope::only(vec![world::CONFIRMED.parse().expect("an id")], vec![sku.into()]);
    let look = async |scope: &Scope| {
        towpath_audit::once(&broken_elsewhere.for_audit(), scope, &strictly()).await.expect("the audit reads")
    };
    let report = look(&scope("ROPE")).await;
    assert!(report.is_settled(), "{report}");
    assert_eq!(report.invariants[0].examined, 1);
    assert_eq!(broken(&look(&scope("OAR")).await), [3]);
    let unknown = Scope::only(vec![Uuid::now_v7()], vec![]);
    assert_eq!(broken(&look(&unknown).await), [1], "an order in scope must exist");
}

#[tokio::test]
async fn who_waits_for_quiet_sees_what_is_under_way_end() {
    let world = world::in_order().await;
    let pending = "UPDATE refunds SET status = 'pending', provider_reference = NULL;
                   UPDATE payments SET status = 'refund_pending', updated_at = now() WHERE status = 'refunded'";
    let copy = world.with("payment", pending).await;
    let databases = copy.for_audit();
    let look = Rules { grace_s: 60.0, ..strictly() };
    let now = towpath_audit::once(&databases, &Scope::all(), &look).await.expect("the audit reads");
    assert!(now.is_clean() && !now.is_settled(), "in flight: {now}");
    let late = towpath_audit::settled(&databases, &Scope::all(), &[], std::time::Duration::ZERO).await.expect("reads");
    assert_eq!(broken(&late), [5], "{late}");

    let everything = Scope::all();
    let (settled, ()) = tokio::join!(
        towpath_audit::settled(&databases, &everything, &[], std::time::Duration::from_secs(30)),
        copy.execute(
            "payment",
            "UPDATE refunds SET status = 'succeeded', provider_reference = 're-3';
             UPDATE payments SET status = 'refunded' WHERE status = 'refund_pending'"
        )
    );
    let settled = settled.expect("the audit reads");
    assert!(settled.is_settled(), "{settled}");
}

#[tokio::test]
async fn an_order_that_waits_for_its_customer_is_in_flight_until_it_can_not_expire() {
    let world = world::in_order().await;
    let waits = "UPDATE orders SET status = 'reserved', reason = NULL, payment_state = 'requires_payment_method',
                                   updated_at = now() - interval '1 hour' WHERE idempotency_key = 'key-2';
                 INSERT INTO towpath.timer (name, next_due) VALUES ('expire-orders', now())";
    let copy = world.with("order", waits).await;
    copy.execute("payment", "UPDATE payments SET updated_at = now() - interval '1 hour'").await;
    let rules = Rules { may_wait: true, ..strictly() };
    let look = async || towpath_audit::once(&copy.for_audit(), &Scope::all(), &rules).await.expect("the audit reads");
    let report = look().await;
    assert!(report.is_clean() && !report.is_settled(), "{report}");
    for (sql, undo) in [
        (
            "UPDATE towpath.timer SET next_due = now() - interval '2 minutes'",
            "UPDATE towpath.timer SET next_due = now()",
        ),
        (
            "UPDATE orders SET created_at = now() + interval '1 second', updated_at = now() - interval '2 minutes'
             WHERE status = 'expired'",
            "UPDATE orders SET created_at = now() - interval '1 hour' WHERE status = 'expired'",
        ),
    ] {
        copy.execute("order", sql).await;
        assert_eq!(broken(&look().await), [4], "{sql}");
        copy.execute("order", undo).await;
        assert!(look().await.is_clean(), "{undo}");
    }
}

const BREAKS: &[Break] = &[
    // 1. An order that was answered exists, whole and once per key.
    Break {
        service: "order",
        sql: "ALTER TABLE orders DROP CONSTRAINT orders_idempotency_key_key;
              UPDATE orders SET idempotency_key = 'key-1' WHERE idempotency_key = 'key-2'",
        finds: &[1],
        id: "-000000000002",
    },
    Break {
        service: "order",
        sql: "UPDATE orders SET total = total + 1 WHERE idempotency_key = 'key-5'",
        finds: &[1],
        id: "-000000000005",
    },
    Break {
        service: "order",
        sql: "DELETE FROM order_lines WHERE order_id::text LIKE '%5'",
        finds: &[1],
        id: "-000000000005",
    },
    Break {
        service: "order",
        sql: "DELETE FROM order_history; DELETE FROM order_lines WHERE order_id::text LIKE '%1';
              DELETE FROM orders WHERE id::text LIKE '%1'",
        finds: &[1],
        id: "-000000000001",
    },
    Break { service: "product", sql: "DELETE FROM products WHERE sku = 'OAR'", finds: &[1], id: "-000000000001" },
    // 2. Confirmed if and only if paid once and in full, and sold once.
    Break {
        service: "order",
        sql: "UPDATE orders SET status = 'confirmed', reason = NULL, payment_id = id WHERE idempotency_key = 'key-5'",
        finds: &[2],
        id: "-000000000005",
    },
    Break {
        service: "order",
        sql: "UPDATE orders SET payment_id = id WHERE idempotency_key = 'key-1'",
        finds: &[2],
        id: "-000000000001",
    },
    Break {
        service: "payment",
        sql: "UPDATE payments SET amount = amount - 1 WHERE status = 'captured'",
        finds: &[2],
        id: "-000000000001",
    },
    Break {
        service: "payment",
        sql: "ALTER TABLE payments DROP CONSTRAINT payments_order_id_key;
              INSERT INTO payments (id, order_id, customer_id, status, amount, currency, payment_method, provider,
                                    provider_reference)
              SELECT gen_random_uuid(), order_id, customer_id, status, amount, currency, payment_method, provider,
                     provider_reference
              FROM payments WHERE status = 'captured'",
        finds: &[2],
        id: "-000000000001",
    },
    Break {
        service: "inventory",
        sql: "UPDATE reservations SET state = 'released' WHERE state = 'sold'",
        finds: &[2],
        id: "-000000000001",
    },
    Break {
        service: "inventory",
        sql: "ALTER TABLE movements DISABLE TRIGGER ALL; DROP INDEX movements_once_per_order;
              INSERT INTO movements SELECT gen_random_uuid(), sku, delta, kind, reason, order_id, at FROM movements
              WHERE sku = 'OAR' AND kind = 'sold' AND order_id::text LIKE '%1';
              UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'OAR'",
        finds: &[2],
        id: "-000000000001",
    },
    Break {
        service: "inventory",
        sql: "ALTER TABLE movements DISABLE TRIGGER ALL; DELETE FROM movements WHERE kind = 'returned';
              UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 'OAR'",
        finds: &[2],
        id: "-000000000003",
    },
    // 3. The stock is what its books say.
    Break {
        service: "inventory",
        sql: "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'OAR'",
        finds: &[3],
        id: "OAR",
    },
    Break { service: "inventory", sql: "UPDATE stock SET reserved = 1 WHERE sku = 'ROPE'", finds: &[3], id: "ROPE" },
    Break {
        service: "inventory",
        sql:
            "ALTER TABLE stock DROP CONSTRAINT stock_on_hand_not_negative, DROP CONSTRAINT stock_available_not_negative;
              INSERT INTO movements VALUES (gen_random_uuid(), 'OAR', -100, 'adjusted');
              UPDATE stock SET on_hand = on_hand - 100 WHERE sku = 'OAR'",
        finds: &[3],
        id: "OAR",
    },
    // 4. Every order reaches an end state.
    Break {
        service: "order",
        sql: "UPDATE orders SET status = 'pending', reason = NULL WHERE idempotency_key = 'key-5'",
        finds: &[4],
        id: "-000000000005",
    },
    Break {
        service: "inventory",
        sql: "UPDATE reservations SET state = 'reserved' WHERE order_id::text LIKE '%2';
              UPDATE stock SET reserved = 1 WHERE sku = 'ROPE'",
        finds: &[4],
        id: "-000000000002",
    },
    // 5. Money goes back once, and no charge is unrecorded.
    Break {
        service: "payment",
        sql: "DELETE FROM refunds; UPDATE payments SET status = 'captured', reason = NULL WHERE status = 'refunded'",
        finds: &[5],
        id: "-000000000013",
    },
    Break { service: "payment", sql: "DELETE FROM refunds", finds: &[5], id: "-000000000013" },
    Break { service: "payment", sql: "UPDATE refunds SET amount = amount - 1", finds: &[5], id: "-000000000013" },
    Break {
        service: "payment",
        sql: "DELETE FROM sandbox_ledger WHERE kind = 'refund'",
        finds: &[5],
        id: "-000000000003",
    },
    Break {
        service: "payment",
        sql: "UPDATE sandbox_ledger SET declined = NULL WHERE declined IS NOT NULL",
        finds: &[5],
        id: "-000000000002",
    },
    Break {
        service: "payment",
        sql: "INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency)
              SELECT 'another', kind, 'ch-another', order_id, amount, currency FROM sandbox_ledger
              WHERE reference = 'ch-1'",
        finds: &[5],
        id: "-000000000001",
    },
    Break {
        service: "payment",
        sql: "INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, charge)
              SELECT 'back', 'refund', 're-1', order_id, amount, currency, reference FROM sandbox_ledger
              WHERE reference = 'ch-1'",
        finds: &[5],
        id: "-000000000001",
    },
    Break {
        service: "payment",
        sql: "INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency)
              VALUES ('lost', 'charge', 'ch-4', '00000000-0000-7000-8000-000000000004', 200, 'EUR')",
        finds: &[5],
        id: "-000000000004",
    },
];
