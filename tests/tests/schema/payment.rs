//! Payments: a charge and a cancellation that come at once, refunds, the sandbox's books.

use std::time::SystemTime;

use tokio_postgres::{Client, error::SqlState, types::ToSql};
use towpath_payment::provider::sandbox::store as books;
use towpath_payment::store;
use uuid::Uuid;

use crate::Database;

pub(crate) type Params<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

pub(crate) const NOTHING: Option<&str> = None;

/// The parameters of [`store::CHARGED`] for the first attempt of a pending payment.
fn ended<'a>(
    id: &'a Uuid,
    status: &'a &str,
    reference: &'a Option<&str>,
    reason: &'a Option<&str>,
    code: &'a Option<&str>,
    cancelled: &'a Option<&str>,
    seen: &'a Option<&str>,
) -> Params<'a, 10> {
    [id, status, reference, reason, code, cancelled, seen, &"pending", &1_i32, &None::<i64>]
}

async fn begin(client: &Client, order: Uuid) -> u64 {
    let params: Params<'_, 7> = [&Uuid::now_v7(), &order, &"customer", &500_i64, &"EUR", &"pm_card_visa", &"sandbox"];
    client.execute(store::BEGIN, &params).await.expect("a payment begins or doesn't")
}

/// Where a payment stands, and whether its order came to nothing.
async fn seen(client: &Client, order: Uuid) -> (Option<Uuid>, Option<String>, Option<String>) {
    let row = client.query_one(store::SEEN, &[&order]).await.expect("one row, always");
    (row.get("id"), row.get("status"), row.get("cancelled"))
}

/// A pending payment whose intent is known.
pub(crate) async fn with_intent(client: &Client, order: Uuid) -> Uuid {
    begin(client, order).await;
    let id = seen(client, order).await.0.expect("a payment");
    assert_eq!(client.execute(store::CREATED, &[&id, &"pi"]).await.expect("an update"), 1);
    id
}

/// The unit of work that records a charge, as it was decided from `cancelled`: whether its guard was met.
async fn charged(client: &mut Client, order: Uuid, cancelled: Option<&str>) -> bool {
    let unit = client.transaction().await.expect("a transaction");
    unit.query_one(store::LOCK, &[&order.to_string()]).await.expect("the lock");
    let id: Uuid = unit.query_one(store::SEEN, &[&order]).await.expect("a row").get("id");
    let status = if cancelled.is_some() { "refund_pending" } else { "captured" };
    let params = ended(&id, &status, &Some("pi"), &cancelled, &NOTHING, &cancelled, &Some("pi"));
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
pub(crate) async fn cancel(client: &mut Client, order: Uuid) -> bool {
    let unit = client.transaction().await.expect("a transaction");
    unit.query_one(store::LOCK, &[&order.to_string()]).await.expect("the lock");
    unit.execute(store::CANCEL, &[&order, &"order_cancelled", &"event"]).await.expect("remembered");
    let params: Params<'_, 3> = [&Uuid::now_v7(), &order, &"order_cancelled"];
    let sent_back = unit.execute(store::SEND_BACK, &params).await.expect("sent back or not");
    unit.commit().await.expect("committed");
    sent_back == 1
}

/// A payment whose refund is open.
async fn going_back(client: &mut Client, order: Uuid) -> Uuid {
    let id = with_intent(client, order).await;
    assert!(charged(client, order, None).await && cancel(client, order).await);
    id
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
        with_intent(&database.client, order).await;
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
            other.execute(store::REFUNDED, &[&id, &"re_1", &60_i64]).await,
            other.execute(store::REFUNDED, &[&id, &"re_2", &60_i64]).await,
        ];
        assert_eq!(settled.map(|touched| touched.expect("an update")), [1, 0]);
        assert_eq!(seen(&other, order).await.1.as_deref(), Some("refunded"));
    }
    database.drop().await;
}

#[tokio::test]
async fn a_payment_keeps_one_intent_and_ends_under_the_one_that_was_seen() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    let id = with_intent(client, order).await;
    let again = client.execute(store::CREATED, &[&id, &"pi_2"]).await.expect("an update");
    assert_eq!(again, 0, "another handler was first");
    // Who saw no intent doesn't close a payment that has one: it might be charged.
    assert!(!cancel(client, order).await);
    let why = "order_cancelled";
    let why = Some(why);
    let close = ended(&id, &"cancelled", &NOTHING, &why, &NOTHING, &why, &NOTHING);
    assert_eq!(client.execute(store::CHARGED, &close).await.expect("an update"), 0);
    let close = ended(&id, &"cancelled", &Some("pi"), &why, &NOTHING, &why, &Some("pi"));
    assert_eq!(client.execute(store::CHARGED, &close).await.expect("an update"), 1);
    assert_eq!(seen(client, order).await.1.as_deref(), Some("cancelled"));
    database.drop().await;
}

#[tokio::test]
async fn an_attempt_is_raised_once_by_whoever_saw_it() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    begin(client, order).await;
    let id = seen(client, order).await.0.expect("a payment");
    let attempt = async |column: &str, client: &Client| -> i32 {
        client.query_one(store::SEEN, &[&order]).await.expect("a row").get(column)
    };
    assert_eq!(attempt("attempt", client).await, 1);
    for expected in [1, 0] {
        assert_eq!(client.execute(store::RAISE, &[&id, &1_i32]).await.expect("an update"), expected);
    }
    assert_eq!(attempt("attempt", client).await, 2);
    let order = Uuid::now_v7();
    let id = going_back(client, order).await;
    for expected in [1, 0] {
        assert_eq!(client.execute(store::RAISE_REFUND, &[&id, &1_i32]).await.expect("an update"), expected);
    }
    client.execute(store::REFUND_TAKEN, &[&id, &"re", &5_i64]).await.expect("taken");
    let late = client.execute(store::RAISE_REFUND, &[&id, &2_i32]).await.expect("an update");
    assert_eq!(late, 0, "the provider has it");
    database.drop().await;
}

#[tokio::test]
async fn a_refund_that_the_provider_never_took_goes_to_a_person() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    let id = going_back(client, order).await;
    let refused: Params<'_, 4> = [&id, &NOTHING, &"charge_disputed", &"refund_failed"];
    assert_eq!(client.execute(store::REFUND_LOST, &refused).await.expect("lost"), 1);
    assert_eq!(seen(client, order).await.1.as_deref(), Some("needs_attention"));
    let row = client.query_one("SELECT status, provider_reference, ask_at FROM refunds", &[]).await.expect("a refund");
    assert_eq!((row.get("status"), row.get::<_, Option<&str>>("provider_reference")), ("failed", None));
    assert_eq!(row.get::<_, Option<SystemTime>>("ask_at"), None, "there is nothing to ask about");
    database.drop().await;
}

#[tokio::test]
async fn a_refund_is_asked_about_until_it_ends_and_one_that_fails_goes_to_a_person() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    let id = going_back(client, order).await;
    let due = async |client: &Client| -> Vec<Uuid> {
        let rows = client.query(store::REFUNDS_TO_ASK, &[&20_i64]).await.expect("a list");
        rows.iter().map(|row| row.get("id")).collect()
    };
    assert!(due(client).await.is_empty(), "the provider hasn't taken it");
    client.execute(store::REFUND_TAKEN, &[&id, &"re", &0_i64]).await.expect("taken");
    assert_eq!(due(client).await, [id]);
    assert_eq!(seen(client, order).await.1.as_deref(), Some("refund_pending"), "pending is not refunded");
    let asked = async |due: SystemTime, next: Option<i64>, client: &Client| {
        let params: Params<'_, 4> = [&id, &due, &1_i32, &next];
        client.execute(store::ASKED, &params).await.expect("asked")
    };
    let seen_due = due_at(client, id).await;
    assert_eq!(asked(seen_due, Some(3600), client).await, 1);
    assert_eq!(asked(seen_due, Some(3600), client).await, 0, "somebody else has asked");
    assert!(due(client).await.is_empty(), "not before an hour");
    // A webhook makes the question due, also while an older answer is on its way.
    let while_asking = due_at(client, id).await;
    assert_eq!(client.execute(store::REFUND_IS_DUE, &[&"pi"]).await.expect("due"), 1);
    assert_eq!(due(client).await, [id]);
    assert_eq!(asked(while_asking, Some(3600), client).await, 0);
    assert_eq!(due(client).await, [id], "it is asked again");
    assert_eq!(asked(due_at(client, id).await, Some(3600), client).await, 1);
    assert_eq!(client.execute(store::REFUND_IS_DUE, &[&"pi_2"]).await.expect("another's"), 0);
    client.execute(store::REFUNDED, &[&id, &"re", &0_i64]).await.expect("refunded");
    assert_eq!(due(client).await, [id], "it may fail later");
    let lost: Params<'_, 4> = [&id, &"re", &"lost_or_stolen_card", &"refund_failed"];
    assert_eq!(client.execute(store::REFUND_LOST, &lost).await.expect("lost"), 1);
    assert_eq!(client.execute(store::REFUND_LOST, &lost).await.expect("lost"), 0);
    assert_eq!(seen(client, order).await.1.as_deref(), Some("needs_attention"));
    assert!(due(client).await.is_empty());
    let row = client.query_one(store::PAYMENT, &[&id, &None::<&str>]).await.expect("the payment");
    assert_eq!(row.get::<_, Option<&str>>("reason"), Some("refund_failed"));
    // The last question has no next one.
    let order = Uuid::now_v7();
    let id = going_back(client, order).await;
    client.execute(store::REFUNDED, &[&id, &"re", &0_i64]).await.expect("refunded");
    let last: Params<'_, 4> = [&id, &due_at(client, id).await, &1_i32, &None::<i64>];
    assert_eq!(client.execute(store::ASKED, &last).await.expect("asked"), 1);
    assert!(due(client).await.is_empty());
    database.drop().await;
}

async fn due_at(client: &Client, payment: Uuid) -> SystemTime {
    let sql = "SELECT ask_at FROM refunds WHERE payment_id = $1";
    client.query_one(sql, &[&payment]).await.expect("a refund").get(0)
}

/// What is told of a dispute: the payment, where it is news.
async fn disputed(client: &Client, status: &str, closed: bool, said_at: i64) -> Vec<Uuid> {
    let params: Params<'_, 8> = [&"pi", &"dp", &status, &Some("fraudulent"), &500_i64, &"eur", &closed, &said_at];
    let rows = client.query(store::DISPUTED, &params).await.expect("recorded or old");
    rows.iter().map(|row| row.get("id")).collect()
}

#[tokio::test]
async fn the_newest_word_about_a_dispute_counts_and_a_closed_one_stays_closed() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    assert!(disputed(client, "needs_response", false, 10).await.is_empty(), "of no payment of ours");
    let order = Uuid::now_v7();
    let id = with_intent(client, order).await;
    let status = async |client: &Client| -> String {
        let row = client.query_one(store::PAYMENT, &[&id, &None::<&str>]).await.expect("the payment");
        let cases: serde_json::Value = row.get("cases");
        assert_eq!((&cases[0]["kind"], cases.as_array().map(Vec::len)), (&"dispute".into(), Some(1)));
        cases[0]["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(disputed(client, "under_review", false, 20).await, [id]);
    assert!(disputed(client, "needs_response", false, 10).await.is_empty(), "an older word came late");
    assert!(disputed(client, "needs_response", false, 20).await.is_empty(), "a review comes after a response");
    assert_eq!(disputed(client, "under_review", false, 20).await, [id], "the same word again");
    assert_eq!(status(client).await, "under_review");
    assert_eq!(disputed(client, "lost", true, 30).await, [id]);
    // Seconds are coarse: what closed it counts, whichever comes first.
    for said_at in [20, 30, 40] {
        assert!(disputed(client, "under_review", false, said_at).await.is_empty());
    }
    assert_eq!(status(client).await, "lost");
    database.drop().await;
}

#[tokio::test]
async fn money_that_went_back_without_us_is_told_once() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    let id = with_intent(client, order).await;
    let told = async |amount: i64, client: &Client| {
        let params: Params<'_, 5> = [&"pi", &"ch", &amount, &"eur", &10_i64];
        client.query(store::REFUNDED_ELSEWHERE, &params).await.expect("recorded or known").len()
    };
    assert_eq!(told(500, client).await, 0, "nothing is captured");
    assert!(charged(client, order, None).await);
    assert_eq!((told(200, client).await, told(200, client).await), (1, 0));
    assert_eq!((told(500, client).await, told(200, client).await), (1, 0), "a part first, then the rest");
    assert!(cancel(client, order).await);
    client.execute(store::REFUNDED, &[&id, &"re", &0_i64]).await.expect("refunded");
    assert_eq!(told(900, client).await, 0, "that was ours");
    database.drop().await;
}

#[tokio::test]
async fn webhooks_of_no_use_are_counted_by_their_type() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    for _ in 0..3 {
        client.execute(store::UNUSED, &[&"stripe", &"customer.created"]).await.expect("counted");
    }
    let row = client.query_one("SELECT count FROM unused_webhooks", &[]).await.expect("one row");
    assert_eq!(row.get::<_, i64>(0), 3);
    database.drop().await;
}

#[tokio::test]
async fn the_sandbox_keeps_an_answer_and_charges_an_intent_once() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let order = Uuid::now_v7();
    let create: Params<'_, 5> = [&"pi", &order, &500_i64, &"EUR", &"pm_card_visa"];
    assert_eq!(client.execute(books::SANDBOX_CREATE, &create).await.expect("an intent"), 1);
    let keep = async |status: i32| {
        let params: Params<'_, 4> = [&"c", &"request", &status, &"{}"];
        client.execute(books::SANDBOX_KEEP, &params).await.expect("kept or not")
    };
    assert_eq!((keep(500).await, keep(200).await), (1, 0));
    let moved = async |from: &str, to: &str| {
        client.execute(books::SANDBOX_MOVE, &[&"pi", &from, &to, &"pm_card_visa"]).await.expect("moved or not")
    };
    assert_eq!(moved("requires_confirmation", "succeeded").await, 1);
    assert_eq!(moved("requires_confirmation", "succeeded").await, 0);
    assert_eq!(moved("requires_confirmation", "canceled").await, 0, "the charge was first");
    assert_eq!(client.execute(books::LEDGER_CHARGE, &[&"c", &"pi", &None::<&str>]).await.expect("a charge"), 1);
    let refund = async |key: &str, reference: &str| {
        client.execute(books::LEDGER_REFUND, &[&key, &reference, &"pi", &"pending"]).await
    };
    assert_eq!(refund("r", "re_1").await.ok(), Some(1));
    let twice = refund("s", "re_2").await.expect_err("a charge goes back once");
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let ended = client.execute(books::LEDGER_MOVE, &[&"re_1", &"pending", &"succeeded"]).await;
    assert_eq!(ended.ok(), Some(1));
    let seen = async |key: Option<&str>, intent: Option<&str>, refund: Option<&str>| {
        client.query_one(books::SANDBOX_SEEN, &[&key, &intent, &refund]).await.expect("one row, always")
    };
    let row = seen(Some("c"), Some("pi"), None).await;
    assert_eq!((row.get::<_, i32>("answered"), row.get::<_, &str>("status")), (500, "succeeded"));
    assert_eq!((row.get::<_, &str>("refund"), row.get::<_, &str>("refund_status")), ("re_1", "succeeded"));
    assert_eq!(seen(None, None, Some("re_1")).await.get::<_, &str>("intent"), "pi");
    let nothing = seen(Some("x"), None, None).await;
    assert_eq!((nothing.get::<_, Option<&str>>("request"), nothing.get::<_, Option<&str>>("intent")), (None, None));
    database.drop().await;
}

#[tokio::test]
async fn what_was_declined_cannot_go_back() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let create: Params<'_, 5> = [&"pi", &Uuid::now_v7(), &500_i64, &"EUR", &"pm_card_chargeDeclined"];
    client.execute(books::SANDBOX_CREATE, &create).await.expect("an intent");
    client.execute(books::LEDGER_CHARGE, &[&"c", &"pi", &Some("generic_decline")]).await.expect("an entry");
    let refund: Params<'_, 4> = [&"r", &"re", &"pi", &"succeeded"];
    assert_eq!(client.execute(books::LEDGER_REFUND, &refund).await.expect("nothing"), 0);
    database.drop().await;
}

#[tokio::test]
async fn the_sandbox_misbehaves_as_it_is_told_and_no_longer() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let mode = async |mode: &str, until: &str| -> Option<String> {
        let sql = format!("UPDATE sandbox_behaviour SET mode = '{mode}', until = now() + interval '{until}'");
        assert_eq!(client.execute(&sql, &[]).await.expect("it is told"), 1);
        let nobody: [Option<&str>; 3] = [None, None, None];
        let row = client.query_one(books::SANDBOX_SEEN, &[&nobody[0], &nobody[1], &nobody[2]]).await;
        let mode: Option<String> = row.expect("one row, always").get("mode");
        let as_usual = client.query(books::SANDBOX_AS_USUAL, &[]).await.expect("a query").len();
        assert_eq!(as_usual, usize::from(mode.is_none()), "{mode:?}");
        mode
    };
    for told in ["gone", "slow", "500", "429", "asks"] {
        assert_eq!(mode(told, "1 hour").await.as_deref(), Some(told));
        assert_eq!(mode(told, "-1 second").await, None);
    }
    assert_eq!(mode("normal", "1 hour").await, None);
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
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    begin(client, order).await;
    for (change, what) in [
        ("status = 'lost'", "an unknown status"),
        ("status = 'captured'", "captured by nobody"),
        ("status = 'declined'", "no reason"),
        ("status = 'cancelled'", "no reason either"),
        ("status = 'needs_attention', reason = 'amount_mismatch'", "nobody charged it"),
        ("status = 'needs_attention', provider_reference = 'pi'", "a person has to know why"),
        ("status = 'refunded', provider_reference = 'ch'", "no reason either"),
        ("reason = 'order_expired'", "a pending one has no reason"),
        ("provider_code = 'lost_card'", "a pending one wasn't declined"),
        ("attempt = 0", "attempts count from 1"),
        ("provider = 'bank'", "an unknown provider"),
        ("status = 'requires_action'", "an intent asks for it"),
        ("status = 'processing'", "an intent does"),
        ("ask_at = now()", "the provider doesn't know it"),
        ("intent_closed = true", "it isn't declined"),
        ("retries = -1", "tries count from 0"),
    ] {
        let sql = format!("UPDATE payments SET {change} WHERE order_id = $1");
        let error = client.execute(&sql, &[&order]).await.expect_err(what);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{what}");
    }
    let id = going_back(client, Uuid::now_v7()).await;
    for (change, what) in [
        ("status = 'lost'", "an unknown status"),
        ("status = 'succeeded'", "refunded by nobody"),
        ("status = 'failed', provider_reference = 're'", "a person has to know why"),
        ("ask_at = now()", "the provider doesn't know it"),
        ("attempt = 0", "attempts count from 1"),
        ("asked = -1", "questions count from 0"),
    ] {
        let sql = format!("UPDATE refunds SET {change} WHERE payment_id = $1");
        let error = client.execute(&sql, &[&id]).await.expect_err(what);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{what}");
    }
    database.drop().await;
}

/// docs/payments.md tells a person how to settle a payment that needs one.
#[tokio::test]
async fn what_the_page_tells_a_person_to_run_settles_the_payment() {
    let page = include_str!("../../../docs/payments.md");
    let told = page.split("-c \"WITH p").nth(1).and_then(|rest| rest.split('"').next()).expect("the page's SQL");
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    // One whose refund failed, and one that was charged with another amount and has no refund.
    let (failed, differs) = (Uuid::now_v7(), Uuid::now_v7());
    let lost = going_back(client, failed).await;
    let why: Params<'_, 4> = [&lost, &"re", &"lost_or_stolen_card", &"refund_failed"];
    client.execute(store::REFUND_LOST, &why).await.expect("lost");
    let other = with_intent(client, differs).await;
    let (intent, mismatch, paid) = (Some("pi"), Some("amount_mismatch"), Some("1 eur"));
    let why = ended(&other, &"needs_attention", &intent, &mismatch, &paid, &NOTHING, &intent);
    assert_eq!(client.execute(store::CHARGED, &why).await.expect("recorded"), 1);
    for (id, order) in [(lost, failed), (other, differs)] {
        assert_eq!(seen(client, order).await.1.as_deref(), Some("needs_attention"));
        let sql = format!("WITH p{}", told.replace("'ID'", &format!("'{id}'")));
        client.batch_execute(&sql).await.expect("the page's SQL runs");
        assert_eq!(seen(client, order).await.1.as_deref(), Some("refunded"));
        assert_eq!(refunds(client, order).await, 1);
    }
    // The sandbox's books, whether it took the refund or refused it.
    let told = page.split("-c \"INSERT INTO").nth(1).and_then(|rest| rest.split('"').next()).expect("the page's SQL");
    for (charge, refund) in [("pi_1", Some("re_1")), ("pi_2", None)] {
        let create: Params<'_, 5> = [&charge, &failed, &500_i64, &"EUR", &"pm_card_visa"];
        client.execute(books::SANDBOX_CREATE, &create).await.expect("an intent");
        client.execute(books::LEDGER_CHARGE, &[&charge, &charge, &NOTHING]).await.expect("a charge");
        if let Some(refund) = refund {
            client.execute(books::LEDGER_REFUND, &[&refund, &refund, &charge, &"failed"]).await.expect("a refund");
        }
        let sql = format!("INSERT INTO{}", told.replace("PROVIDER_REFERENCE", charge));
        client.batch_execute(&sql).await.expect("the page's SQL runs");
        let back = "SELECT count(*) FROM sandbox_ledger WHERE charge = $1 AND status = 'succeeded'";
        assert_eq!(client.query_one(back, &[&charge]).await.expect("a count").get::<_, i64>(0), 1, "{charge}");
    }
    database.drop().await;
}
