//! The memory of `towpath audit --provider`: a program of its own, since it looks at the whole process.

use std::time::Duration;

use towpath_audit::provider::{Comparison, Kind};
use towpath_tests::TestDatabases;

/// As many payments, each with its intent; every fourth is refunded.
const PAYMENTS: u64 = 200_000;
/// What the process may grow by: a fraction of what the records themselves take.
const MAX_GROWTH_KIB: u64 = 24 * 1024;

const FILL: &str = "
INSERT INTO sandbox_intents (reference, order_id, amount, currency, payment_method, status)
SELECT 'sandbox_pi_' || repeat('0', 20) || n, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 500, 'EUR',
       'pm_card_visa', 'succeeded'
FROM generate_series(1, 200000) AS n;
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency)
SELECT reference, 'charge', reference, order_id, amount, currency FROM sandbox_intents;
INSERT INTO payments (id, order_id, customer_id, status, amount, currency, payment_method, provider,
                      provider_reference, reason)
SELECT gen_random_uuid(), order_id, 'c', CASE WHEN amount_ % 4 = 0 THEN 'refunded' ELSE 'captured' END, amount, currency,
       payment_method, 'sandbox', reference, CASE WHEN amount_ % 4 = 0 THEN 'order_cancelled' END
FROM (SELECT *, row_number() OVER () AS amount_ FROM sandbox_intents) AS i;
INSERT INTO refunds (id, payment_id, amount, currency, reason, status, provider_reference)
SELECT gen_random_uuid(), id, amount, currency, reason, 'succeeded', 're_' || provider_reference
FROM payments WHERE status = 'refunded';
INSERT INTO sandbox_ledger (key, kind, reference, order_id, amount, currency, charge, status)
SELECT 'refund-' || p.order_id, 'refund', r.provider_reference, p.order_id, r.amount, r.currency, p.provider_reference,
       'succeeded'
FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id;
UPDATE sandbox_intents SET status = 'canceled' WHERE reference LIKE '%00123456'";

/// The most memory that this process has held.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn memory_stays_bounded_whatever_is_compared() {
    let databases = TestDatabases::migrated().await;
    databases.execute("payment", FILL).await;
    let (payments, folder) = (databases.for_audit().payment, std::env::temp_dir());
    let comparison = Comparison { payments: &payments, stripe: None, folder: &folder, grace: Duration::ZERO };
    let mut found = Vec::new();
    let before = peak_kib();
    let summaries = comparison.run(&mut |difference| found.push(difference), &|_| ()).await.expect("both are read");
    let grown = peak_kib() - before;
    println!("{PAYMENTS} payments: {grown} KiB more than {before} KiB");
    assert_eq!((summaries[0].payments, summaries[0].intents, summaries[0].refunds), (PAYMENTS, PAYMENTS, PAYMENTS / 4));
    assert_eq!(found.iter().map(|one| one.kind).collect::<Vec<_>>(), [Kind::Status], "{found:?}");
    assert!(found[0].reference.ends_with("00123456"), "{found:?}");
    assert!(grown < MAX_GROWTH_KIB, "it grew by {grown} KiB");
}
