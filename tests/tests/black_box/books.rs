//! `towpath audit --provider` on a stack that is at work.

use std::process::{Command, Output};

use serde_json::Value;
use towpath_tests::{Shop, Stack};

fn audit(arguments: &[&str]) -> Output {
    let command = std::env::var("TOWPATH_TEST_CLI").expect("TOWPATH_TEST_CLI: `./towpath test` sets it");
    let mut command = Command::new(command);
    command.arg("--home").arg(Stack::shared().home).args(["audit", "--provider"]).args(arguments);
    // A key of somebody's own account has nothing to do here.
    command.env_remove("SPIN_VARIABLE_STRIPE_KEY").output().expect("the audit runs")
}

#[tokio::test]
async fn payments_and_refunds_are_what_the_sandbox_says() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let confirmed = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let declined = shop.place_and_wait(&shop.order_for(&sku, 1).by("pm_card_chargeDeclined")).await;
    assert_eq!((confirmed.status.as_str(), declined.status.as_str()), ("confirmed", "rejected"));
    shop.api.cancel(confirmed.id).await.and_then(|answer| answer.expect(202)).expect("cancelled");

    let output = audit(&["--json"]);
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{log}");
    let found: Value = serde_json::from_str(&text).expect("one JSON document");
    assert!(found["differences"].as_array().expect("a list").iter().all(|one| one["in_flight"] == true), "{found}");
    let sandbox = &found["providers"][0];
    assert_eq!((&sandbox["provider"], &sandbox["differences"]), (&"sandbox".into(), &0.into()), "{found}");
    assert!(sandbox["payments"].as_u64() >= Some(2) && sandbox["intents"].as_u64() >= Some(2), "{found}");

    let output = audit(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("sandbox: ") && text.contains(": ok"), "{text}");
    shop.close().await;
}
