//! What strangers are told by a stack that has names and pages of its own, and what they can make it do. The stack is this
//! binary's own, so that the calls within it can be counted.

use serde_json::json;
use towpath_client::{Answer, Call};
use towpath_tests::{OwnStack, Shop, assert_refused, assert_wrong_fields};
use uuid::Uuid;

async fn sent(call: Call) -> Answer {
    call.send().await.expect("an answer")
}

/// The queries that product has sent to the relay.
async fn queries_of_product(own: &OwnStack) -> u64 {
    let url = format!("{}/metrics", own.stack.running().relay_admin);
    let text = reqwest::get(url).await.expect("the relay answers").text().await.expect("text");
    let counts = text.lines().filter(|line| {
        let is = |label: &str| line.contains(label);
        line.starts_with("towpath_relay_requests_total{") && is("service=\"product\"") && is("call=\"queries\"")
    });
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn names_and_pages_are_configured_and_an_order_makes_one_call() {
    let variables = [
        ("SPIN_VARIABLE_ALLOWED_HOSTS", "shop.example, *.shop.example, 192.0.2.7:80"),
        ("SPIN_VARIABLE_ALLOWED_ORIGINS", "https://pages.example"),
    ];
    let own = OwnStack::start(&variables);
    let shop = Shop::open_in(&own.stack);
    let get = || shop.api.get("/v1/products");
    for host in ["shop.example", "SHOP.example:443", "eu.shop.example", "192.0.2.7:80", "localhost"] {
        assert_eq!(sent(get().header("host", host)).await.status(), 200, "{host}");
    }
    for host in ["example", "notshop.example", "shop.example.org", "192.0.2.7:81"] {
        let _ = assert_refused(&sent(get().header("host", host)).await, 421, "misdirected_request");
    }
    for (host, origin, status) in [
        ("shop.example", "https://pages.example", 200),
        ("shop.example", "https://shop.example", 200),
        ("shop.example", "http://pages.example", 403),
        ("shop.example", "https://eu.shop.example", 403),
        ("shop.example", "null", 403),
    ] {
        let answer = sent(get().header("host", host).header("origin", origin)).await;
        assert_eq!(answer.status(), status, "{host} {origin}: {}", answer.text());
    }

    let skus: Vec<String> = (0..100).map(|_| format!("{}:/{}", "U".repeat(30), Uuid::new_v4().simple())).collect();
    let known = shop.sku(1).await;
    let mut lines: Vec<_> = skus.iter().map(|sku| json!({ "sku": sku, "quantity": 1 })).collect();
    lines[42] = json!({ "sku": known, "quantity": 1 });
    let order = json!({ "customer_id": shop.customer, "payment_method": "pm_sandbox_ok", "lines": lines });
    let before = queries_of_product(&own).await;
    let refused = sent(shop.api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key()).json(&order)).await;
    assert_eq!(queries_of_product(&own).await - before, 1, "one query for all of them");
    let names: Vec<String> = (0..100).filter(|n| *n != 42).map(|n| format!("lines[{n}].sku")).collect();
    let wrong: Vec<_> = names.iter().map(|name| (name.as_str(), "unknown_sku")).collect();
    assert_wrong_fields(&assert_refused(&refused, 422, "unknown_sku"), &wrong);
    shop.close().await;
}
