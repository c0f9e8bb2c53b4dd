//! `towpath audit --provider`: what payment believes beside what the provider says.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use towpath_audit::provider::{Account, Comparison, Difference, Kind, Summary, stripe_units};
use towpath_payment::provider::units::{Units, Unpayable};
use towpath_sdk::{Currency, Money};
use towpath_tests::TestDatabases;

use crate::stripe::{Books, KEY, Stripe};
use crate::world;

/// The intents of the world's charges, as the sandbox has them.
const INTENTS: &str = "
    INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method, status)
    SELECT reference, order_id, amount, currency, 'pm_card_visa',
           CASE WHEN declined IS NULL THEN 'succeeded' ELSE 'requires_payment_method' END
    FROM sandbox_ledger WHERE kind = 'charge'
    ON CONFLICT DO NOTHING";

async fn compare(
    databases: &TestDatabases,
    stripe: Option<&Account>,
) -> anyhow::Result<(Vec<Difference>, Vec<Summary>)> {
    let folder = std::env::temp_dir();
    let payments = databases.for_audit().payment;
    let comparison = Comparison { payments: &payments, stripe, folder: &folder, grace: Duration::ZERO };
    let mut found = Vec::new();
    let summaries = comparison.run(&mut |difference| found.push(difference), &|_| ()).await?;
    Ok((found, summaries))
}

/// Kind and reference of each, sorted.
fn named(found: &[Difference]) -> Vec<(&'static str, &str)> {
    let mut named: Vec<_> = found.iter().map(|one| (one.kind.as_str(), one.reference.as_str())).collect();
    named.sort_unstable();
    named
}

#[tokio::test]
async fn a_world_in_order_agrees_with_the_sandbox() {
    let world = world::in_order().await.with("payment", INTENTS).await;
    let (found, summaries) = compare(&world, None).await.expect("both sides are read");
    assert_eq!(found, []);
    let [sandbox] = summaries.as_slice() else { panic!("{summaries:?}") };
    assert_eq!((sandbox.payments, sandbox.intents, sandbox.refunds), (3, 3, 1));
    let nothing = TestDatabases::migrated().await;
    assert_eq!(compare(&nothing, None).await.expect("nothing is read"), (vec![], vec![]));
}

#[tokio::test]
async fn each_difference_from_the_sandbox_is_named() {
    let world = world::in_order().await.with("payment", INTENTS).await;
    for (sql, expected) in DIFFERENCES {
        let copy = world.with("payment", sql).await;
        let (found, summaries) = compare(&copy, None).await.expect("both sides are read");
        assert_eq!(named(&found), *expected, "{sql}\n{found:#?}");
        assert_eq!(summaries[0].differences, found.len() as u64, "{sql}");
        assert!(found.iter().all(|one| one.payment_id.is_some() || one.kind == Kind::MissingHere), "{found:#?}");
    }
}

#[tokio::test]
async fn comparing_changes_nothing_and_leaves_no_file() {
    let world = world::in_order().await.with("payment", INTENTS).await;
    // A role that may read and nothing else is enough.
    let role = format!("reader_{}", uuid::Uuid::now_v7().simple());
    let grants = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'test'; GRANT USAGE ON SCHEMA app TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA app TO {role}"
    );
    world.execute("payment", &grants).await;
    let mut url: reqwest::Url = world.for_audit().payment.parse().expect("a URL");
    url.set_username(&role).and_then(|()| url.set_password(Some("test"))).expect("a user");
    let folder = std::env::temp_dir().join(&role);
    std::fs::create_dir(&folder).expect("a folder");
    let comparison = Comparison { payments: url.as_str(), stripe: None, folder: &folder, grace: Duration::ZERO };
    let summaries = comparison.run(&mut |difference| panic!("{difference}"), &|_| ()).await.expect("reading is enough");
    assert_eq!(summaries.len(), 1);
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);
    std::fs::remove_dir(&folder).expect("it is empty");
    world.execute("payment", &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// A thousand payments at Stripe, and what Stripe has of them: every third is refunded, every seventh declined.
async fn at_stripe() -> (TestDatabases, Books) {
    let databases = TestDatabases::migrated().await;
    databases.execute("payment", AT_STRIPE).await;
    let order = |n: u32| format!("00000000-0000-7000-8000-{n:012}");
    let mut books = Books::default();
    for n in (1..=1000_u32).rev() {
        let (amount, status) = (u64::from(n) + 100, if n % 7 == 0 { "requires_payment_method" } else { "succeeded" });
        let received = if n % 7 == 0 { 0 } else { amount };
        books.intents.push(
            json!({"id": format!("pi_{n}"), "object": "payment_intent", "status": status, "amount": amount,
            "amount_received": received, "currency": "eur", "created": 1_700_000_000 + n,
            "metadata": {"order_id": order(n)}}),
        );
        if n % 3 == 0 && n % 7 != 0 {
            books.refunds.push(json!({"id": format!("re_{n}"), "object": "refund", "status": "succeeded",
                "amount": amount, "currency": "eur", "created": 1_700_000_000 + n, "payment_intent": format!("pi_{n}"),
                "metadata": {"order_id": order(n)}}));
        }
    }
    // Another application's.
    books.intents.push(json!({"id": "pi_other", "status": "succeeded", "amount": 5, "amount_received": 5,
        "currency": "usd", "created": 1, "metadata": {}}));
    books.refunds.push(json!({"id": "re_other", "status": "succeeded", "amount": 5, "currency": "usd", "created": 1,
        "payment_intent": null, "metadata": null}));
    (databases, books)
}

fn account(stripe: &Stripe) -> Account {
    Account { url: stripe.url.clone(), key: KEY.into() }
}

#[tokio::test]
async fn stripe_is_listed_page_by_page_to_its_end_also_where_it_is_busy() {
    let (databases, books) = at_stripe().await;
    let stripe = Stripe::with(books).await;
    stripe.busy.store(3, Ordering::SeqCst);
    let (found, summaries) = compare(&databases, Some(&account(&stripe))).await.expect("both sides are read");
    assert_eq!(found, []);
    let [one] = summaries.as_slice() else { panic!("{summaries:?}") };
    assert_eq!((one.provider, one.payments, one.intents, one.refunds, one.foreign), ("stripe", 1000, 1001, 287, 2));
    let asked = stripe.asked.lock().expect("nobody panics while holding it");
    let pages =
        |list: &str| asked.iter().filter(|uri| uri.starts_with(list) && uri.contains("starting_after=")).count();
    assert_eq!((pages("/v1/payment_intents?limit=100"), pages("/v1/refunds?limit=100")), (10, 2), "{asked:?}");
}

#[tokio::test]
async fn each_difference_from_stripe_is_named_wherever_it_stands() {
    let (databases, books) = at_stripe().await;
    let change = |list: &mut Vec<Value>, id: &str, field: &str, value: Value| {
        let object = list.iter_mut().find(|object| object["id"] == id).expect("an object");
        object[field] = value;
    };
    type Broken = fn(&mut Books, &dyn Fn(&mut Vec<Value>, &str, &str, Value));
    let cases: &[(Broken, &[(&str, &str)])] = &[
        (|books, _| books.intents.retain(|one| one["id"] != "pi_950"), &[("missing at the provider", "its intent")]),
        (
            |books, change| change(&mut books.intents, "pi_1", "amount", json!(1)),
            &[("amount", "pi_1"), ("amount", "pi_1")],
        ),
        (|books, change| change(&mut books.intents, "pi_500", "currency", json!("usd")), &[("currency", "pi_500")]),
        (
            |books, change| change(&mut books.intents, "pi_7", "status", json!("succeeded")),
            &[("amount", "pi_7"), ("status", "pi_7")],
        ),
        (|books, change| change(&mut books.intents, "pi_8", "status", json!("canceled")), &[("status", "pi_8")]),
        (|books, change| change(&mut books.refunds, "re_3", "status", json!("failed")), &[("status", "re_3")]),
        (
            |books, change| change(&mut books.refunds, "re_3", "amount", json!(3)),
            &[("amount", "re_3"), ("refund sum", "pi_3")],
        ),
        (|books, _| books.refunds.retain(|one| one["id"] != "re_999"), &[("missing at the provider", "re_999")]),
        (
            // In the dashboard, so without metadata.
            |books, _| {
                books.refunds.insert(
                    0,
                    json!({"id": "re_new", "status": "pending", "amount": 10, "currency": "eur",
                "created": 1_700_000_000, "payment_intent": "pi_1", "metadata": {}}),
                )
            },
            &[("missing here", "re_new")],
        ),
        (
            |books, _| {
                books.intents.insert(
                    0,
                    json!({"id": "pi_twice", "status": "succeeded", "amount": 101,
                "amount_received": 101, "currency": "eur", "created": 1_700_000_000,
                "metadata": {"order_id": "00000000-0000-7000-8000-000000000001"}}),
                )
            },
            &[("missing here", "pi_twice")],
        ),
        (
            |books, _| {
                books.intents.insert(
                    0,
                    json!({"id": "pi_lost", "status": "requires_confirmation", "amount": 101,
                "amount_received": 0, "currency": "eur", "created": 1_700_000_000,
                "metadata": {"order_id": "00000000-0000-7000-8000-000000009999"}}),
                )
            },
            &[("missing here", "pi_lost")],
        ),
    ];
    for (number, (breaks, expected)) in cases.iter().enumerate() {
        let mut broken = books.clone();
        breaks(&mut broken, &change);
        let stripe = Stripe::with(broken).await;
        let (found, _) = compare(&databases, Some(&account(&stripe))).await.expect("both sides are read");
        assert_eq!(named(&found), *expected, "case {number}: {found:#?}");
    }
}

#[tokio::test]
async fn where_stripe_can_not_be_read_to_its_end_nothing_counts_as_compared() {
    let (databases, books) = at_stripe().await;
    let stripe = Stripe::with(books).await;
    let failure = async |account: Option<Account>| {
        let error = compare(&databases, account.as_ref()).await.expect_err("it can't be read");
        format!("{error:#}")
    };
    let without = failure(None).await;
    assert!(without.contains("SPIN_VARIABLE_STRIPE_KEY"), "{without}");
    let wrong = Account { key: "rk_test_wrong".into(), ..account(&stripe) };
    assert!(!format!("{wrong:?}").contains("rk_test"), "no log shows a key");
    let refused = failure(Some(wrong)).await;
    assert!(refused.contains("refuses the key") && !refused.contains("rk_test_wrong"), "{refused}");
    let path = failure(Some(Account { url: format!("{}/elsewhere", stripe.url), ..account(&stripe) })).await;
    assert!(path.contains("404") && path.contains("Unrecognized request URL"), "{path}");
}

#[test]
fn stripes_units_are_those_of_the_payment_component() {
    let mut compared = 0;
    for letters in 0..26_u32.pow(3) {
        let letter = |n: u32| char::from(b'A' + u8::try_from(n % 26).expect("a letter"));
        let code: String = [letter(letters / 676), letter(letters / 26), letter(letters)].into_iter().collect();
        let Ok(currency) = code.parse::<Currency>() else { continue };
        for amount in [5_000, 100_000, 123_450, 500_020, 1_000_001] {
            match Units::of(Money::new(amount, currency)) {
                Ok(units) => {
                    assert_eq!(stripe_units(amount, &code), Some(units.amount), "{amount} {code}");
                    compared += 1;
                }
                // The audit compares what was charged, and nobody is charged this.
                Err(Unpayable::Fraction | Unpayable::Currency | Unpayable::TooSmall | Unpayable::TooLarge) => {}
            }
        }
    }
    assert!(compared > 400, "{compared}");
}

const AT_STRIPE: &str = "
INSERT INTO payments (id, order_id, customer_id, status, amount, currency, payment_method, provider,
                      provider_reference, reason)
SELECT gen_random_uuid(), ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'c',
       CASE WHEN n % 7 = 0 THEN 'declined' WHEN n % 3 = 0 THEN 'refunded' ELSE 'captured' END, n + 100, 'EUR',
       'pm_card_visa', 'stripe', 'pi_' || n,
       CASE WHEN n % 7 = 0 THEN 'card_declined' WHEN n % 3 = 0 THEN 'order_cancelled' END
FROM generate_series(1, 1000) AS n;
INSERT INTO refunds (id, payment_id, amount, currency, reason, status, provider_reference)
SELECT gen_random_uuid(), id, amount, currency, reason, 'succeeded', replace(provider_reference, 'pi', 're')
FROM payments WHERE status = 'refunded';";

/// What is changed in the world, and the kind and the reference of each difference.
const DIFFERENCES: &[(&str, &[(&str, &str)])] = &[
    ("DELETE FROM sandbox_intents WHERE reference = 'ch-1'", &[("missing at the provider", "its intent")]),
    (
        "UPDATE payments SET provider_reference = 'ch-0' WHERE provider_reference = 'ch-1'",
        &[("missing at the provider", "its intent"), ("missing here", "ch-1")],
    ),
    (
        "UPDATE sandbox_intents SET amount = amount + 1 WHERE reference = 'ch-1'",
        &[("amount", "ch-1"), ("amount", "ch-1")],
    ),
    ("UPDATE sandbox_ledger SET amount = amount - 1 WHERE reference = 'ch-1'", &[("amount", "ch-1")]),
    ("UPDATE payments SET currency = 'USD' WHERE provider_reference = 'ch-1'", &[("currency", "ch-1")]),
    ("UPDATE sandbox_intents SET status = 'canceled' WHERE reference = 'ch-1'", &[("status", "ch-1")]),
    ("UPDATE payments SET status = 'captured', reason = NULL WHERE provider_reference = 'ch-2'", &[("status", "ch-2")]),
    ("UPDATE sandbox_ledger SET status = 'failed' WHERE reference = 're-3'", &[("status", "re-3")]),
    (
        "UPDATE sandbox_ledger SET amount = amount - 1 WHERE reference = 're-3'",
        &[("amount", "re-3"), ("refund sum", "ch-3")],
    ),
    ("DELETE FROM sandbox_ledger WHERE reference = 're-3'", &[("missing at the provider", "re-3")]),
    (
        "DELETE FROM refunds; UPDATE payments SET status = 'captured', reason = NULL WHERE status = 'refunded'",
        &[("missing here", "re-3")],
    ),
    ("DELETE FROM refunds; DELETE FROM sandbox_ledger WHERE reference = 're-3'", &[("refund sum", "ch-3")]),
    ("UPDATE payments SET intent_closed = true WHERE provider_reference = 'ch-2'", &[("status", "ch-2")]),
    ("UPDATE payments SET provider_reference = 'ch-1' WHERE provider_reference = 'ch-2'", &[("order", "ch-1")]),
    ("DELETE FROM refunds; DELETE FROM payments WHERE provider_reference = 'ch-3'", &[("missing here", "ch-3")]),
    ("UPDATE sandbox_intents SET order_id = gen_random_uuid() WHERE reference = 'ch-1'", &[("order", "ch-1")]),
    (
        "INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method, status)
      SELECT 'ch-9', order_id, amount, currency, payment_method, status FROM sandbox_intents WHERE reference = 'ch-1';
      INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency)
      SELECT 'twice', kind, 'ch-9', order_id, amount, currency FROM sandbox_ledger WHERE reference = 'ch-1'",
        &[("missing here", "ch-9")],
    ),
];
