//! Orders: placing, steps under guards, the sweep's index, prices.

use std::time::SystemTime;

use serde_json::{Value, json};
use tokio_postgres::{Client, error::SqlState};
use towpath_order::store;
use uuid::Uuid;

use crate::Database;

async fn place(client: &Client, key: &str) -> Result<Uuid, tokio_postgres::Error> {
    place_for(client, "customer", key).await
}

async fn place_for(client: &Client, customer: &str, key: &str) -> Result<Uuid, tokio_postgres::Error> {
    let id = Uuid::now_v7();
    let (skus, quantities, prices) = (vec!["A", "B", "A"], vec![1_i32, 2, 3], vec![100_i64, 50, 100]);
    let detail = json!({"total": {"amount": 500, "currency": "EUR"}});
    let now = SystemTime::now();
    let touched = client
        .execute(
            store::PLACE,
            &[
                &id,
                &customer,
                &"EUR",
                &500_i64,
                &"pm_card_visa",
                &key,
                &"hash",
                &now,
                &skus,
                &quantities,
                &prices,
                &"event-1",
                &detail,
                &"wait",
            ],
        )
        .await?;
    assert_eq!(touched, 1);
    Ok(id)
}

/// Takes a step from `seen` to `next`; how many entries it wrote.
async fn step(client: &Client, id: Uuid, seen: &str, next: &str, payment: Option<Uuid>, reason: Option<&str>) -> u64 {
    let entries = json!([
        {"type": "heard", "event_id": "h", "detail": {}, "status": null},
        {"type": "said", "event_id": "s", "detail": {"reason": reason, "payment_id": payment}, "status": next},
    ]);
    let nothing = None::<&str>;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 12] = [
        &id,
        &next,
        &reason,
        &payment,
        &seen,
        &500_i64,
        &"EUR",
        &entries,
        &nothing,
        &nothing,
        &nothing,
        &None::<SystemTime>,
    ];
    client.execute(store::STEP, &params).await.expect("a legal step")
}

async fn status(client: &Client, id: Uuid) -> String {
    client.query_one(store::SEEN, &[&id]).await.expect("the order").get("status")
}

#[tokio::test]
async fn an_order_is_placed_with_its_lines_once_per_key() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let id = place(client, "key").await.expect("the first");
    let error = place(client, "key").await.expect_err("the second").as_db_error().cloned().expect("the database's");
    assert_eq!((error.code(), error.constraint()), (&SqlState::UNIQUE_VIOLATION, Some(store::KEY_USED)));

    let row = client.query_one(store::ORDER_BY_KEY, &[&"key", &"customer"]).await.expect("the order");
    assert_eq!((row.get::<_, Uuid>("id"), row.get::<_, i64>("total")), (id, 500));
    let lines: Value = row.get("lines");
    let eur = |amount: i64| json!({"amount": amount, "currency": "EUR"});
    let second = json!({"sku": "B", "quantity": 2, "unit_price": eur(50), "total": eur(100)});
    assert_eq!((lines.as_array().map(Vec::len), &lines[1]), (Some(3), &second));
    let sum: i64 = lines.as_array().expect("lines").iter().filter_map(|line| line["total"]["amount"].as_i64()).sum();
    assert_eq!(sum, 500);

    let history = client.query(store::HISTORY, &[&id, &None::<&str>]).await.expect("its history");
    assert_eq!((history.len(), history[0].get::<_, &str>("type")), (1, "order.placed"));
    database.drop().await;
}

/// A step that keeps the status; what the payment asks of the customer as seen, and from now on. How many entries it wrote.
async fn asks(client: &Client, id: Uuid, seen: Option<&str>, next: Option<&str>, method: Option<&str>) -> u64 {
    let entries = json!([{"type": "heard", "event_id": "h", "detail": {}, "status": null}]);
    let nothing = None::<&str>;
    let reserved = "reserved";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 12] = [
        &id,
        &reserved,
        &nothing,
        &None::<Uuid>,
        &reserved,
        &500_i64,
        &"EUR",
        &entries,
        &next,
        &seen,
        &method,
        &None::<SystemTime>,
    ];
    client.execute(store::STEP, &params).await.expect("a legal step")
}

#[tokio::test]
async fn an_order_that_waits_for_its_customer_answers_who_waits_and_is_resumed_once() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let id = place(client, "key").await.expect("an order");
    assert_eq!(step(client, id, "pending", "reserved", None, None).await, 2);
    let answers = async |client: &Client| -> Option<(String, Option<String>)> {
        let row = client.query_opt(store::DECIDED, &[&id]).await.expect("a query")?;
        Some((row.get("status"), row.get("payment_state")))
    };
    assert_eq!(answers(client).await, None);
    let (action, method) = (Some("requires_action"), Some("requires_payment_method"));
    assert_eq!(asks(client, id, None, action, None).await, 1);
    assert_eq!(answers(client).await, Some(("reserved".into(), Some("requires_action".into()))));
    // Two requests at once: one of them goes on.
    assert_eq!(asks(client, id, action, None, Some("pm_2")).await, 1);
    assert_eq!(asks(client, id, action, None, Some("pm_3")).await, 0);
    assert_eq!(answers(client).await, None);
    let row = client.query_one("SELECT payment_method FROM orders WHERE id = $1", &[&id]).await.expect("the order");
    assert_eq!(row.get::<_, &str>(0), "pm_2");
    assert_eq!(asks(client, id, None, method, None).await, 1);
    // The decision clears it, and is what is answered.
    let rejected = json!([{"type": "said", "event_id": "s", "detail": {"reason": "r"}, "status": "expired"}]);
    let nothing = None::<&str>;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 12] = [
        &id,
        &"expired",
        &Some("payment_timeout"),
        &None::<Uuid>,
        &"reserved",
        &500_i64,
        &"EUR",
        &rejected,
        &nothing,
        &method,
        &nothing,
        &None::<SystemTime>,
    ];
    assert_eq!(client.execute(store::STEP, &params).await.expect("a legal step"), 1);
    assert_eq!(answers(client).await, Some(("expired".into(), None)));
    for wrong in ["payment_state = 'requires_action'", "on_decline = 'retry'"] {
        let error = client.execute(&format!("UPDATE orders SET {wrong}"), &[]).await.expect_err(wrong);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{wrong}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_key_belongs_to_its_customer_and_the_release_before_still_finds_it() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let first = place_for(client, "c-1", "key").await.expect("the first customer's");
    let second = place_for(client, "c-2", "key").await.expect("the second customer's");
    for (customer, order) in [("c-1", first), ("c-2", second)] {
        let row = client.query_one(store::ORDER_BY_KEY, &[&"key", &customer]).await.expect("its order");
        assert_eq!(row.get::<_, Uuid>("id"), order);
        let error = place_for(client, customer, "key").await.expect_err("once per key");
        // By this name components of the release before know it too; they ask by the key alone.
        assert_eq!(error.as_db_error().and_then(|error| error.constraint()), Some("orders_idempotency_key_key"));
    }
    client.batch_execute("SET enable_seqscan = off").await.expect("set");
    let asked = "EXPLAIN SELECT id FROM orders o WHERE o.idempotency_key = 'key'";
    let plan: Vec<String> = client.query(asked, &[]).await.expect("a plan").iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("orders_idempotency_key_key")), "{plan:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_step_is_taken_from_where_the_order_was_seen_and_nowhere_else() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let id = place(client, "key").await.expect("an order");
    let payment = Uuid::now_v7();
    assert!(client.query_opt(store::DECIDED, &[&id]).await.expect("a look").is_none());
    assert_eq!(step(client, id, "reserved", "confirmed", Some(payment), None).await, 0);
    assert_eq!(step(client, id, "pending", "confirmed", Some(payment), None).await, 2);
    assert_eq!(step(client, id, "pending", "rejected", None, Some("out_of_stock")).await, 0);
    assert_eq!(step(client, id, "confirmed", "cancelled", None, Some("mind changed")).await, 2);

    let now = client.query_one(store::ORDER, &[&id, &None::<&str>]).await.expect("the order");
    assert_eq!((now.get("status"), now.get("reason")), ("cancelled", Some("mind changed")));
    assert_eq!(now.get::<_, Option<Uuid>>("payment_id"), Some(payment));
    let decided = client.query_one(store::DECIDED, &[&id]).await.expect("as first decided");
    assert_eq!((decided.get("status"), decided.get::<_, Option<&str>>("reason")), ("confirmed", None));
    assert_eq!(decided.get::<_, Option<Uuid>>("payment_id"), Some(payment));

    let history = client.query(store::HISTORY, &[&id, &None::<&str>]).await.expect("its history");
    let kinds: Vec<&str> = history.iter().map(|row| row.get("type")).collect();
    assert_eq!(kinds, ["order.placed", "heard", "said", "heard", "said"]);
    let times: Vec<SystemTime> = history.iter().map(|row| row.get("at")).collect();
    assert!(times.is_sorted());
    database.drop().await;
}

#[tokio::test]
async fn of_two_steps_at_once_the_row_decides() {
    let database = Database::migrated("order").await;
    let (one, two) = (&database.client, &database.another().await);
    for round in 0..20 {
        let id = place(one, &format!("key-{round}")).await.expect("an order");
        let (confirmed, cancelled) = tokio::join!(
            step(one, id, "pending", "confirmed", Some(Uuid::now_v7()), None),
            step(two, id, "pending", "cancelled", None, Some("mind changed")),
        );
        let expected = if confirmed == 2 { "confirmed" } else { "cancelled" };
        assert_eq!((confirmed + cancelled, status(one, id).await.as_str()), (2, expected));
    }
    database.drop().await;
}

#[tokio::test]
async fn the_schema_refuses_what_the_rules_do_not_know() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let id = place(client, "key").await.expect("an order");
    let refused = [
        ("status = 'lost'", "an unknown status"),
        ("status = 'confirmed'", "paid by nothing"),
        ("status = 'rejected'", "no reason"),
        ("reason = 'because'", "a reason for an open order"),
        ("total = -1", "a negative total"),
        ("currency = 'eur'", "no currency"),
    ];
    for (change, what) in refused {
        let error = client.execute(&format!("UPDATE orders SET {change} WHERE id = $1"), &[&id]).await.expect_err(what);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{what}");
    }
    database.drop().await;
}

#[tokio::test]
async fn the_sweep_uses_its_index() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    // One order in a hundred is open, as after a busy week.
    client
        .batch_execute(
            "INSERT INTO orders (id, customer_id, status, currency, total, payment_method, payment_id,
                                 idempotency_key, request_hash, created_at)
             SELECT gen_random_uuid(), 'c' || n % 50, s.status, 'EUR', 100, 'pm',
                    CASE s.status WHEN 'confirmed' THEN gen_random_uuid() END, 'k' || n, 'h', now() - n * interval '1 s'
             FROM generate_series(1, 20000) n
             CROSS JOIN LATERAL (SELECT CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'confirmed' END AS status) s;
             ANALYZE orders;",
        )
        .await
        .expect("orders");
    client.batch_execute(&format!("PREPARE sweep AS {}", store::OPEN_SINCE)).await.expect("prepared");
    for mode in ["force_generic_plan", "force_custom_plan"] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.expect("set");
        let explain = "EXPLAIN (COSTS OFF) EXECUTE sweep (now(), 900, 100)";
        let rows = client.query(explain, &[]).await.expect("a plan");
        let plan: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using orders_open on orders"), "{mode}:\n{plan}");
        // Oldest first comes from the index, and nothing is looked at that isn't open.
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan") && !plan.contains("Filter"), "{mode}:\n{plan}");
    }
    let rows = client.query(store::OPEN_SINCE, &[&SystemTime::now(), &900_i64, &100_i64]).await.expect("a sweep");
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| row.get::<_, &str>("status") == "pending"));
    database.drop().await;
}

/// The statement names `now()` without a schema, so a schema that is searched first moves the database's clock.
#[tokio::test]
async fn an_order_is_as_old_as_the_earlier_of_two_clocks_says() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    place(client, "key").await.expect("an order");
    let (right, ahead) = (SystemTime::now(), SystemTime::now() + std::time::Duration::from_secs(7200));
    let expires = async |now: SystemTime| {
        client.query(store::OPEN_SINCE, &[&now, &900_i64, &100_i64]).await.expect("a sweep").len()
    };
    assert_eq!(expires(right).await, 0);
    assert_eq!(expires(ahead).await, 0, "the component's clock is ahead");
    let set = "CREATE SCHEMA clock;
        CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE
            AS 'SELECT pg_catalog.now() + interval ''2 hours''';
        SET search_path = clock, app, pg_catalog";
    client.batch_execute(set).await.expect("the clock is set");
    assert_eq!(expires(right).await, 0, "the database's clock is ahead");
    assert_eq!(expires(ahead).await, 1, "two hours have passed");
    database.drop().await;
}

#[tokio::test]
async fn lists_page_by_id_without_gaps_or_repeats() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let mut placed = Vec::new();
    for n in 0..7 {
        placed.push(place(client, &format!("key-{n}")).await.expect("an order"));
    }
    placed.reverse();
    let (mut after, mut found) = (Uuid::max(), Vec::new());
    loop {
        let rows = client.query(store::ORDERS_OF_CUSTOMER, &[&after, &3_i64, &"customer"]).await.expect("a page");
        let page: Vec<Uuid> = rows.iter().map(|row| row.get("id")).collect();
        let Some(last) = page.last() else { break };
        after = *last;
        found.extend(page);
        // One that is placed meanwhile shifts nothing.
        place(client, &Uuid::now_v7().to_string()).await.expect("another order");
    }
    assert_eq!(found, placed);
    let none = client.query(store::ORDERS_IN_STATUS, &[&Uuid::max(), &3_i64, &"expired"]).await.expect("a page");
    assert!(none.is_empty());
    database.drop().await;
}

#[tokio::test]
async fn what_is_on_sale_at_a_price_is_told_by_sku_amount_and_currency() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    for (sku, amount, active) in [("A", 100_i64, true), ("B", 200, true), ("C", 300, false)] {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&sku, &Uuid::now_v7(), &amount, &"EUR", &active, &1_i64];
        client.execute(store::KEEP_PRICE, &params).await.expect("a price");
    }
    let priced = async |lines: &[(&str, i64, &str)]| {
        let skus: Vec<&str> = lines.iter().map(|line| line.0).collect();
        let amounts: Vec<i64> = lines.iter().map(|line| line.1).collect();
        let currencies: Vec<&str> = lines.iter().map(|line| line.2).collect();
        client.query(store::PRICED, &[&skus, &amounts, &currencies]).await.expect("a query").len()
    };
    assert_eq!(priced(&[("A", 100, "EUR"), ("B", 200, "EUR")]).await, 2);
    for other in [("A", 101, "EUR"), ("A", 100, "USD"), ("C", 300, "EUR"), ("D", 100, "EUR")] {
        assert_eq!(priced(&[other, ("B", 200, "EUR")]).await, 1, "{other:?}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_price_that_comes_late_does_not_replace_a_later_one() {
    let database = Database::migrated("order").await;
    let client = &database.client;
    let product = Uuid::now_v7();
    let mut kept = Vec::new();
    for version in [2_i64, 1, 2, 4, 3] {
        let amount = version * 100;
        let active = version != 4;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&"A", &product, &amount, &"EUR", &active, &version];
        kept.push(client.execute(store::KEEP_PRICE, &params).await.expect("a price"));
    }
    assert_eq!(kept, [1, 0, 0, 1, 0]);
    let row = client.query_one(store::PRICES, &[&vec!["A", "B"]]).await.expect("one price");
    assert_eq!((row.get::<_, i64>("amount"), row.get::<_, bool>("active")), (400, false));
    database.drop().await;
}
