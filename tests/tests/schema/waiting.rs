//! Payments that wait at the provider, and the sandbox's side of it.

use tokio_postgres::Client;
use towpath_payment::domain::CANCELLED_AT_PROVIDER;
use towpath_payment::provider::sandbox::store as books;
use towpath_payment::store;
use uuid::Uuid;

use crate::Database;
use crate::payment::{NOTHING, Params, cancel, with_intent};

#[tokio::test]
async fn a_payment_that_waits_is_asked_about_and_goes_on_once_by_another_payment_method() {
    let mut database = Database::migrated("payment").await;
    let client = &mut database.client;
    let order = Uuid::now_v7();
    let id = with_intent(client, order).await;
    let due = async |client: &Client| -> Vec<Uuid> {
        let rows = client.query(store::PAYMENTS_TO_ASK, &[&20_i64]).await.expect("a list");
        rows.iter().map(|row| row.get("id")).collect()
    };
    let record =
        async |client: &Client, from: &str, attempt: i32, to: &str, reason: Option<&str>, seconds: Option<i64>| {
            let params: Params<'_, 10> =
                [&id, &to, &Some("pi"), &reason, &NOTHING, &NOTHING, &Some("pi"), &from, &attempt, &seconds];
            client.execute(store::CHARGED, &params).await.expect("recorded or late")
        };
    assert_eq!(record(client, "pending", 1, "requires_action", None, Some(3600)).await, 1);
    assert!(due(client).await.is_empty());
    assert_eq!(client.execute(store::PAYMENT_IS_DUE, &[&"pi"]).await.expect("a webhook"), 1);
    assert_eq!(due(client).await, [id]);
    // Another payment method: one attempt more, and what is said of the one before comes too late.
    let retry = async |client: &Client| {
        client.execute(store::RETRY, &[&order, &"pm_2", &CANCELLED_AT_PROVIDER]).await.expect("an update")
    };
    assert_eq!((retry(client).await, retry(client).await), (1, 0));
    assert!(due(client).await.is_empty());
    let row = client.query_one(store::SEEN, &[&order]).await.expect("a row");
    assert_eq!((row.get::<_, i32>("attempt"), row.get::<_, i32>("retries")), (2, 1));
    assert_eq!((row.get::<_, &str>("status"), row.get::<_, &str>("payment_method")), ("pending", "pm_2"));
    assert_eq!(record(client, "pending", 1, "declined", Some("expired_card"), None).await, 0);
    assert_eq!(record(client, "pending", 2, "declined", Some("expired_card"), None).await, 1);
    // The order has ended: nothing pays it any more.
    assert!(!cancel(client, order).await);
    assert_eq!(retry(client).await, 0);
    assert_eq!(client.execute(store::PAYMENT_IS_DUE, &[&"pi"]).await.expect("a webhook"), 1, "its intent is open");
    assert_eq!(client.execute(store::INTENT_CLOSED, &[&id]).await.expect("closed"), 1);
    assert_eq!(client.execute(store::PAYMENT_IS_DUE, &[&"pi"]).await.expect("a webhook"), 0);
    assert!(due(client).await.is_empty());
    database.drop().await;
}

#[tokio::test]
async fn another_payment_method_begins_a_new_intent_only_where_the_old_one_is_cancelled() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    for (reason, kept) in [("expired_card", Some("pi")), (CANCELLED_AT_PROVIDER, None)] {
        let order = Uuid::now_v7();
        let id = with_intent(client, order).await;
        let declined: Params<'_, 10> = [
            &id,
            &"declined",
            &Some("pi"),
            &Some(reason),
            &NOTHING,
            &NOTHING,
            &Some("pi"),
            &"pending",
            &1_i32,
            &None::<i64>,
        ];
        assert_eq!(client.execute(store::CHARGED, &declined).await.expect("recorded"), 1);
        let retry: Params<'_, 3> = [&order, &"pm_2", &CANCELLED_AT_PROVIDER];
        assert_eq!(client.execute(store::RETRY, &retry).await.expect("an update"), 1);
        let row = client.query_one(store::SEEN, &[&order]).await.expect("a row");
        assert_eq!(row.get::<_, Option<&str>>("provider_reference"), kept, "{reason}");
        assert_eq!((row.get::<_, &str>("status"), row.get::<_, i32>("attempt")), ("pending", 2));
        assert_eq!(row.get::<_, Option<&str>>("reason"), None);
    }
    database.drop().await;
}

#[tokio::test]
async fn the_sandbox_knows_an_intent_by_its_secret_and_charges_what_was_declined_once() {
    let database = Database::migrated("payment").await;
    let client = &database.client;
    let create: Params<'_, 5> = [&"pi", &Uuid::now_v7(), &500_i64, &"EUR", &"pm_card_authenticationRequired"];
    client.execute(books::SANDBOX_CREATE, &create).await.expect("an intent");
    let seen = client.query_one(books::SANDBOX_SEEN, &[&NOTHING, &Some("pi"), &NOTHING]).await.expect("a row");
    let secret: String = seen.get("client_secret");
    let known =
        async |secret: &str| client.query(books::SANDBOX_INTENT_OF, &[&"pi", &secret]).await.expect("a query").len();
    assert_eq!((known(&secret).await, known("another").await), (1, 0));
    let charge = async |key: &str, declined: Option<&str>| {
        client.execute(books::LEDGER_CHARGE, &[&key, &"pi", &declined]).await.expect("an entry")
    };
    assert_eq!(charge("a", Some("expired_card")).await, 1);
    assert_eq!(charge("b", None).await, 1);
    assert_eq!(charge("c", None).await, 0, "it is charged");
    let rows = client.query("SELECT key, declined FROM sandbox_ledger", &[]).await.expect("its books");
    assert_eq!((rows.len(), rows[0].get::<_, &str>("key"), rows[0].get::<_, Option<&str>>("declined")), (1, "b", None));
    database.drop().await;
}
