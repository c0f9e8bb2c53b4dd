//! The memory of `towpath audit --provider`: a program of its own, since it looks at the whole process.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use axum::routing::get;
use towpath_audit::provider::{Account, Comparison, Difference, Kind, Summary};
use towpath_tests::TestDatabases;

/// As many payments, each with its intent; every fourth is refunded. `TOWPATH_TEST_PAYMENTS` asks for another number.
const PAYMENTS: u64 = 200_000;
/// What the process may grow by: a fraction of what the records themselves take.
const MAX_GROWTH_KIB: u64 = 24 * 1024;
/// The one that is different at the provider.
const OTHER: u64 = 123_456;

/// `{n}` is how many.
const FILL: &str = "
INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method, status)
SELECT 'pi_' || lpad(n::text, 24, '0'), ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 500, 'EUR',
       'pm_card_visa', CASE n WHEN {other} THEN 'canceled' ELSE 'succeeded' END
FROM generate_series(1, {n}) AS n;
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency)
SELECT reference, 'charge', reference, order_id, amount, currency FROM sandbox_intents;
INSERT INTO payments (id, order_id, customer_id, status, amount, currency, payment_method, provider,
                      provider_reference, reason)
SELECT gen_random_uuid(), order_id, 'c', CASE n % 4 WHEN 0 THEN 'refunded' ELSE 'captured' END, amount, currency,
       payment_method, 'sandbox', reference, CASE n % 4 WHEN 0 THEN 'order_cancelled' END
FROM (SELECT *, substr(reference, 4)::bigint AS n FROM sandbox_intents) AS i;
INSERT INTO refunds (id, payment_id, amount, currency, reason, status, provider_reference)
SELECT gen_random_uuid(), id, amount, currency, reason, 'succeeded', replace(provider_reference, 'pi', 're')
FROM payments WHERE status = 'refunded';
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, charge, status)
SELECT 'refund-' || p.order_id, 'refund', r.provider_reference, p.order_id, r.amount, r.currency, p.provider_reference,
       'succeeded'
FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id";

/// The same payments, as if they had been made at Stripe.
const AT_STRIPE: &str = "TRUNCATE sandbox_ledger, sandbox_intents; UPDATE payments SET provider = 'stripe'";

/// The most memory that this process has held.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A server that lists as Stripe does, newest first and in pages, and makes each object up when it is asked for it: it holds
/// nothing, and whoever lists grows by what they hold themselves.
async fn stripe(payments: u64) -> Account {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let list = move |uri: Uri| async move { page(payments, &uri) };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(get(list))).await });
    Account { url, key: "rk_test_books".into() }
}

fn page(payments: u64, uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let given = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit: usize = given("limit").and_then(|text| text.parse().ok()).expect("a limit");
    let after = given("starting_after").map(|id| id[3..].parse::<u64>().expect("an id that was listed"));
    let below = after.unwrap_or(payments + 1);
    let is_refunds = uri.path() == "/v1/refunds";
    let listed = (1..below).rev().filter(|n| !is_refunds || n % 4 == 0).take(limit).collect::<Vec<_>>();
    let has_more = listed.last().is_some_and(|last| *last > if is_refunds { 4 } else { 1 });
    let objects: Vec<String> = listed.iter().map(|n| if is_refunds { refund(*n) } else { intent(*n) }).collect();
    format!(r#"{{"object":"list","url":"{}","has_more":{has_more},"data":[{}]}}"#, uri.path(), objects.join(","))
}

/// With what else Stripe says of an intent, of which most is of no use here.
fn intent(n: u64) -> String {
    let (status, received) = if n == OTHER { ("canceled", 0) } else { ("succeeded", 500) };
    format!(
        r#"{{"id":"pi_{n:024}","object":"payment_intent","amount":500,"amount_capturable":0,"amount_details":{{"tip":{{}}}},
        "amount_received":{received},"application":null,"application_fee_amount":null,"automatic_payment_methods":null,
        "canceled_at":null,"cancellation_reason":null,"capture_method":"automatic_async","client_secret":"pi_{n}_secret_x",
        "confirmation_method":"automatic","created":1700000000,"currency":"eur","customer":null,"description":null,
        "last_payment_error":null,"latest_charge":"ch_{n:024}","livemode":false,
        "metadata":{{"order_id":"00000000-0000-7000-8000-{n:012}"}},"next_action":null,"on_behalf_of":null,
        "payment_method":"pm_{n:024}","payment_method_options":{{"card":{{"installments":null,"mandate_options":null,
        "network":null,"request_three_d_secure":"automatic"}}}},"payment_method_types":["card"],"processing":null,
        "receipt_email":null,"review":null,"setup_future_usage":null,"shipping":null,"source":null,
        "statement_descriptor":null,"statement_descriptor_suffix":null,"status":"{status}","transfer_data":null,
        "transfer_group":null}}"#
    )
}

fn refund(n: u64) -> String {
    format!(
        r#"{{"id":"re_{n:024}","object":"refund","amount":500,"balance_transaction":"txn_{n:024}","charge":"ch_{n:024}",
        "created":1700000000,"currency":"eur","destination_details":{{"card":{{"reference":"x","type":"refund"}},
        "type":"card"}},"metadata":{{"order_id":"00000000-0000-7000-8000-{n:012}"}},"payment_intent":"pi_{n:024}",
        "reason":null,"receipt_number":null,"source_transfer_reversal":null,"status":"succeeded",
        "transfer_reversal":null}}"#
    )
}

async fn compare(databases: &TestDatabases, stripe: Option<&Account>) -> (Vec<Difference>, Summary) {
    let (payments, folder) = (databases.for_audit().payment, std::env::temp_dir());
    let comparison = Comparison { payments: &payments, stripe, folder: &folder, grace: Duration::ZERO };
    let mut found = Vec::new();
    let summaries = comparison.run(&mut |difference| found.push(difference), &|_| ()).await.expect("both are read");
    let [summary] = summaries.as_slice() else { panic!("{summaries:?}") };
    (found, summary.clone())
}

#[tokio::test]
async fn memory_stays_bounded_whatever_is_compared() {
    let number = std::env::var("TOWPATH_TEST_PAYMENTS").map_or(PAYMENTS, |text| text.parse().expect("a number"));
    let databases = TestDatabases::migrated().await;
    databases
        .execute("payment", &FILL.replace("{n}", &number.to_string()).replace("{other}", &OTHER.to_string()))
        .await;
    let account = stripe(number).await;
    for provider in ["sandbox", "stripe"] {
        let before = peak_kib();
        let account = (provider == "stripe").then_some(&account);
        if account.is_some() {
            databases.execute("payment", AT_STRIPE).await;
        }
        let (found, summary) = compare(&databases, account).await;
        let grown = peak_kib() - before;
        println!("{provider}, {number} payments: {grown} KiB more than {before} KiB");
        let listed = (summary.provider, summary.payments, summary.intents, summary.refunds);
        assert_eq!(listed, (provider, number, number, number / 4));
        assert!(found.iter().any(|one| one.kind == Kind::Status), "{found:?}");
        assert!(found.iter().all(|one| one.reference.ends_with("123456")), "{found:?}");
        assert!(grown < MAX_GROWTH_KIB, "{provider}: it grew by {grown} KiB");
    }
}
