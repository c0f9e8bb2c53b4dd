//! The books after any news, on a real PostgreSQL: the stock, the reservations and the ledger agree.

use proptest::prelude::*;
use tokio_postgres::Client;
use towpath_inventory::domain::{Line, Movement, News, State, decide};
use towpath_inventory::events::Placed;
use towpath_inventory::reservation::Order;
use towpath_inventory::store;
use towpath_sdk::{Id, Money, Time, UnitOfWork};

use crate::Database;
use crate::database::run;

const SKUS: [&str; 3] = ["A", "B", "C"];

fn order(lines: &[(usize, i64)]) -> Order {
    let lines: Vec<_> = lines.iter().map(|&(sku, quantity)| Line { sku: SKUS[sku].into(), quantity }).collect();
    let placed = Placed {
        order_id: Id::new(),
        customer_id: "c".into(),
        total: Money::new(1, "EUR".parse().expect("a currency")),
        payment_method: "pm_card_visa".into(),
        lines,
    };
    Order::placed(placed).expect("a demand")
}

/// As inventory follows an order, with the test's hand in the relay's place.
async fn follow(client: &mut Client, order: &Order, news: News) {
    let mut state = news.usual_state();
    loop {
        let Some(unit) = order.unit(UnitOfWork::new(), state, decide(state, news)) else { return };
        let mut result = run(client, unit).await;
        if result.as_ref().is_err_and(|label| label == store::OUT_OF_STOCK) {
            result = run(client, order.reject(UnitOfWork::new(), state)).await;
        }
        match result.as_ref().map_err(String::as_str) {
            Ok(()) => return,
            Err(store::MOVED_ON) => state = state_of(client, order.id()).await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn state_of(client: &Client, order: Id) -> Option<State> {
    let sql = "SELECT state FROM reservations WHERE order_id::text = $1";
    let row = client.query_opt(sql, &[&order.to_string()]).await.expect("an answer")?;
    Some(State::parse(row.get("state")).expect("a state"))
}

async fn stocked(database: &Database, pieces: i64) -> Client {
    let mut client = database.another().await;
    for sku in SKUS {
        run(&mut client, store::create(UnitOfWork::new(), sku)).await.expect("a SKU");
        if pieces > 0 {
            adjust(&mut client, sku, pieces).await.expect("stock");
        }
    }
    client
}

async fn adjust(client: &mut Client, sku: &str, delta: i64) -> Result<(), String> {
    let movement = Movement { id: Id::new(), sku: sku.into(), delta, reason: "test".into(), created_at: Time::now() };
    let key = movement.id.to_string();
    run(client, store::adjust(UnitOfWork::new(), &movement, &key, "hash")).await
}

/// The SKUs whose books don't agree.
async fn disagreements(client: &Client) -> Vec<String> {
    let sql = "SELECT sku FROM stock WHERE available < 0
        OR on_hand <> (SELECT coalesce(sum(delta), 0) FROM movements WHERE movements.sku = stock.sku)
        OR reserved <> (SELECT coalesce(sum(quantity), 0) FROM reservation_lines JOIN reservations USING (order_id)
                        WHERE reservation_lines.sku = stock.sku AND state = 'reserved')";
    client.query(sql, &[]).await.expect("an answer").iter().map(|row| row.get(0)).collect()
}

async fn on_hand(client: &Client) -> i64 {
    client.query_one("SELECT sum(on_hand)::bigint FROM stock", &[]).await.expect("an answer").get(0)
}

fn any_news() -> impl Strategy<Value = Vec<(usize, News)>> {
    let news = prop_oneof![Just(News::Placed), Just(News::Confirmed), Just(News::Ended)];
    prop::collection::vec((0..3_usize, news), 0..14)
}

fn any_orders() -> impl Strategy<Value = Vec<Vec<(usize, i64)>>> {
    prop::collection::vec(prop::collection::vec((0..SKUS.len(), 1..4_i64), 1..4), 3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_after_any_news(orders in any_orders(), news in any_news()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (wrong, ended) = runtime.block_on(async {
            let database = Database::migrated("inventory").await;
            let mut client = stocked(&database, 6).await;
            let orders: Vec<_> = orders.iter().map(|lines| order(lines)).collect();
            let mut wrong = Vec::new();
            for (at, news) in news {
                follow(&mut client, &orders[at], news).await;
                wrong.extend(disagreements(&client).await);
            }
            for order in &orders {
                follow(&mut client, order, News::Ended).await;
            }
            wrong.extend(disagreements(&client).await);
            let ended = on_hand(&client).await;
            database.drop().await;
            (wrong, ended)
        });
        prop_assert_eq!(wrong, Vec::<String>::new());
        prop_assert_eq!(ended, 18, "an order that has ended holds nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_sell_what_there_is_and_wait_for_nobody_for_ever() {
    let database = Database::migrated("inventory").await;
    let first = stocked(&database, 20).await;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8_usize {
        let mut client = database.another().await;
        tasks.spawn(async move {
            for round in 0..10 {
                // Every order names its SKUs in another order.
                let order = order(&[(worker % 3, 1), ((worker + round) % 3, 1), ((worker + 2 * round + 1) % 3, 1)]);
                follow(&mut client, &order, News::Placed).await;
                follow(&mut client, &order, if round % 2 == 0 { News::Confirmed } else { News::Ended }).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no deadlock");
    }
    assert_eq!(disagreements(&first).await, Vec::<String>::new());
    database.drop().await;
}

#[tokio::test]
async fn what_is_promised_cant_be_taken_by_hand() {
    let database = Database::migrated("inventory").await;
    let mut client = stocked(&database, 5).await;
    follow(&mut client, &order(&[(0, 3)]), News::Placed).await;
    assert_eq!(adjust(&mut client, "A", -3).await, Err(store::NOT_ADJUSTED.into()));
    assert_eq!(adjust(&mut client, "A", -2).await, Ok(()));
    assert_eq!(adjust(&mut client, "A", i64::from(u32::MAX) * 1000).await, Err(store::NOT_ADJUSTED.into()));
    assert_eq!(adjust(&mut client, "unknown", 1).await, Err(store::NOT_ADJUSTED.into()));
    assert_eq!(disagreements(&client).await, Vec::<String>::new());
    database.drop().await;
}

#[tokio::test]
async fn the_tables_hold_the_rules_by_themselves() {
    let database = Database::migrated("inventory").await;
    let client = stocked(&database, 5).await;
    for (sql, constraint) in [
        ("UPDATE stock SET reserved = on_hand + 1", "stock_available_not_negative"),
        ("UPDATE stock SET reserved = -1", "stock_reserved_not_negative"),
        ("UPDATE stock SET on_hand = -1, reserved = -1", "stock_available_not_negative"),
        ("INSERT INTO reservations (order_id, state) VALUES (gen_random_uuid(), 'lost')", "reservations_state_known"),
        (
            "INSERT INTO movements (id, sku, delta, kind) VALUES (gen_random_uuid(), 'A', 0, 'adjusted')",
            "movements_delta_not_zero",
        ),
        (
            "INSERT INTO movements (id, sku, delta, kind) VALUES (gen_random_uuid(), 'A', -1, 'sold')",
            "movements_kind_known",
        ),
    ] {
        let error = client.batch_execute(sql).await.expect_err("refused");
        let error = error.as_db_error().expect("the database's");
        assert!(
            error.constraint().is_some_and(|name| name == constraint || name.starts_with("stock_")),
            "{sql}: {error}"
        );
    }
    for sql in ["UPDATE movements SET delta = 1", "DELETE FROM movements", "TRUNCATE movements"] {
        let error = client.batch_execute(sql).await.expect_err("refused");
        assert!(error.as_db_error().is_some_and(|error| error.message().contains("movements only grow")), "{sql}");
    }
    database.drop().await;
}

#[tokio::test]
async fn the_ledger_keeps_an_adjustments_key_for_ever() {
    let database = Database::migrated("inventory").await;
    let client = &database.client;
    let write = async |columns: &str, values: &str| {
        let sql =
            format!("INSERT INTO movements (id, sku, delta, {columns}) VALUES (gen_random_uuid(), 'A', 1, {values})");
        let written = client.execute(&sql, &[]).await;
        written.map_err(|error| error.as_db_error().and_then(|error| error.constraint()).unwrap_or("?").to_owned())
    };
    client.execute("INSERT INTO stock (sku) VALUES ('A')", &[]).await.expect("a SKU");
    let all = "kind, idempotency_key, request_hash";
    assert_eq!(write(all, "'adjusted', 'key', 'hash'").await, Ok(1));
    assert_eq!(write(all, "'adjusted', 'key', 'hash'").await, Err(store::KEY_USED.into()));
    // As components of the release before write them.
    for _ in 0..2 {
        assert_eq!(write("kind, reason", "'adjusted', 'found'").await, Ok(1));
    }
    assert_eq!(write("kind, idempotency_key", "'adjusted', 'k'").await, Err("movements_key_of_an_adjustment".into()));
    for key in ["''", "repeat('x', 256)"] {
        let values = format!("'adjusted', {key}, 'hash'");
        assert_eq!(write(all, &values).await, Err("movements_key_length".into()), "{key}");
    }
    database.drop().await;
}
