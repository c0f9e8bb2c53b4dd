//! Payments: a charge and a cancellation that come at once, refunds, the sandbox's books.

use tokio_postgres::{Client, error::SqlState};
use towpath_payment::store;
use uuid::Uuid;

use crate::Database;

async fn begin(client: &Client, order: Uuid) -> u64 {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&Uuid::now_v7(), &order, &"customer", &500_i64, &"EUR", &"pm_card_visa", &"sandbox"];
    client.execute(store::BEGIN, &params).await.expect("a payment begins or doesn't")
}

/// Where a payment stands, and whether its order came to nothing.
async fn seen(client: &Client, order: Uuid) -> (Option<Uuid>, Option<String>, Option<String>) {
    let row = client.query_one(store::SEEN, &[&order]).await.expect("one row, always");
    (row.get("id"), row.get("status"), row.get("cancelled"))
}

/// The unit of work that records a charge, as it was decided from `cancelled`: whether its guard was met.
async fn charged(client: &mut Client, order: Uuid, cancelled: Option<&str>) -> bool {
    let unit = client.transaction().await.expect("a transaction");
    unit.query_one(store::LOCK, &[&order.to_string()]).await.expect("the lock");
    let id: Uuid = unit.query_one(store::SEEN, &[&order]).await.expect("a row").get("id");
    let status = if cancelled.is_some() { "refund_pending" } else { "captured" };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [&id, &status, &"ch_1", &cancelled, &cancelled];
    if unit.execute(store::CHARGED, &params).await.expect("an update") == 0 {
        unit.rollback().await.expect("rolled back");
        return false;
    }
    if cancelled.is_some() {
        let opened = unit.execute(store::OPEN_REFUND, &[&Uuid::now_v7(), &id]).await.expect("a refund");
        assert_eq!(opened, 1);
    }
    unit.commit().await.expect("committed");
    true
}

/// The unit of work that hears a cancellation: whether it sent something back.
async fn cancel(client: &mut Client, order: Uuid) -> bool {
    let unit = client.transaction().await.expect("a transaction");
    unit.query_one(store::LOCK, &[&order.to_string()]).await.expect("the lock");
    unit.execute(store::CANCEL, &[&order, &"order_cancelled", &"event"]).await.expect("remembered");
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&Uuid::now_v7(), &order, &"order_cancelled"];
    let sent_back = unit.execute(store::SEND_BACK, &params).await.expect("sent back or not");
    unit.commit().await.expect("committed");
    sent_back == 1
}

async fn refunds(client: &Client, order: Uuid) -> i64 {
    let sql = "SELECT count(*) FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE p.order_id = $1";
    client.query_one(sql, &[&order]).await.expect("a count").get(0)
}

#[tokio::test]
async fn a_payment_begins_once_and_not_after_a_cancellation() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    assert_eq!(seen(client, order).await, (None, None, None));
    assert_eq!((begin(client, order).await, begin(client, order).await), (1, 0));
    let early = Uuid::now_v7();
    assert!(!cancel(client, early).await);
    assert_eq!(begin(client, early).await, 0);
    assert_eq!(seen(client, early).await, (None, None, Some("order_cancelled".into())));
    database.drop().await;
}

#[tokio::test]
async fn a_charge_and_a_cancellation_at_once_end_in_one_refund() {
    let mut database = Database::migrated("payment").await;
    let mut other = database.another().await;
    for _ in 0..30 {
        let order = Uuid::now_v7();
        begin(&database.client, order).await;
        let (recorded, sent_back) = tokio::join!(charged(&mut database.client, order, None), cancel(&mut other, order));
        // Whoever comes second sees what the first one did: the charge is sent back, or is recorded as one to send back.
        assert_eq!(recorded, sent_back);
        if !recorded {
            assert_eq!(refunds(&other, order).await, 0);
            assert!(charged(&mut database.client, order, Some("order_cancelled")).await);
        }
        assert_eq!(refunds(&other, order).await, 1);
        let (id, status, _) = seen(&other, order).await;
        assert_eq!(status.as_deref(), Some("refund_pending"));
        assert!(!cancel(&mut other, order).await, "a second cancellation sends nothing back");
        let settled = [
            other.execute(store::REFUNDED, &[&id, &"re_1"]).await,
            other.execute(store::REFUNDED, &[&id, &"re_2"]).await,
        ];
        assert_eq!(settled.map(|touched| touched.expect("an update")), [1, 0]);
        assert_eq!(seen(&other, order).await.1.as_deref(), Some("refunded"));
    }
    database.drop().await;
}

#[tokio::test]
async fn the_sandbox_finds_what_it_did_under_the_same_key() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let order = Uuid::now_v7();
    let charge = async |key: &str, reference: &str, declined: Option<&str>| {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&key, &reference, &order, &500_i64, &"EUR", &declined];
        client.execute(store::LEDGER_CHARGE, &params).await.expect("a charge")
    };
    let refund = async |key: &str, reference: &str, charge: &str| {
        client.execute(store::LEDGER_REFUND, &[&key, &reference, &charge]).await
    };
    assert_eq!((charge("c", "ch_1", None).await, charge("c", "ch_2", None).await), (1, 0));
    assert_eq!(charge("d", "ch_3", Some("lost_card")).await, 1);
    let entry = client.query_one(store::LEDGER_ENTRY, &[&"c"]).await.expect("the entry");
    assert_eq!((entry.get("reference"), entry.get::<_, Option<&str>>("declined")), ("ch_1", None));
    assert_eq!(refund("r", "re_1", "ch_1").await.ok(), Some(1));
    assert_eq!(refund("r", "re_2", "ch_1").await.ok(), Some(0));
    assert_eq!(refund("s", "re_3", "ch_3").await.ok(), Some(0), "what was declined can't go back");
    let twice = refund("s", "re_4", "ch_1").await.expect_err("a charge goes back once");
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    database.drop().await;
}

#[tokio::test]
async fn the_sandbox_misbehaves_as_it_is_told_and_no_longer() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let charge: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&"c", &"ch_1", &Uuid::now_v7(), &500_i64, &"EUR", &None::<&str>];
    assert_eq!(client.execute(store::LEDGER_CHARGE, &charge).await.expect("a charge"), 1);
    let seen = async |mode: &str, until: &str| {
        let sql = format!("UPDATE sandbox_behaviour SET mode = '{mode}', until = now() + interval '{until}'");
        assert_eq!(client.execute(&sql, &[]).await.expect("it is told"), 1);
        let refusal = client.query_opt(store::REFUSAL, &[]).await.expect("a look");
        let entry = client.query_one(store::LEDGER_ENTRY, &[&"c"]).await.expect("the entry");
        (refusal.map(|row| row.get::<_, String>("mode")), entry.get::<_, bool>("held_back"))
    };
    for mode in ["gone", "500", "429"] {
        assert_eq!(seen(mode, "1 hour").await, (Some(mode.to_owned()), false));
        assert_eq!(seen(mode, "-1 second").await, (None, false));
    }
    assert_eq!(seen("slow", "1 hour").await, (None, true));
    assert_eq!(seen("slow", "-1 second").await, (None, false));
    assert_eq!(seen("normal", "1 hour").await, (None, false));
    for wrong in ["mode = 'rude'", "until = 'infinity'", "one_row = false"] {
        let sql = format!("UPDATE sandbox_behaviour SET {wrong}");
        let error = client.execute(&sql, &[]).await.expect_err("refused");
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{wrong}");
    }
    client.execute("INSERT INTO sandbox_behaviour DEFAULT VALUES", &[]).await.expect_err("there is one row");
    database.drop().await;
}

#[tokio::test]
async fn the_schema_refuses_what_the_rules_do_not_know() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let order = Uuid::now_v7();
    begin(client, order).await;
    for (change, what) in [
        ("status = 'lost'", "an unknown status"),
        ("status = 'captured'", "captured by nobody"),
        ("status = 'declined'", "no reason"),
        ("status = 'refunded', provider_reference = 'ch'", "no reason either"),
        ("provider = 'bank'", "an unknown provider"),
    ] {
        let sql = format!("UPDATE payments SET {change} WHERE order_id = $1");
        let error = client.execute(&sql, &[&order]).await.expect_err(what);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{what}");
    }
    database.drop().await;
}
