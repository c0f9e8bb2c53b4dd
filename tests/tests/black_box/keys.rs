//! The one rule of idempotency keys (docs/idempotency.md), on every route that changes something.

use reqwest::Method;
use serde_json::{Value, json};
use towpath_client::{Answer, Money, NewProduct, Order, Product};
use towpath_tests::{Shop, assert_refused};

/// A change that any route makes: how it is asked for with this key, and with another body.
struct Change {
    method: Method,
    path: String,
    if_match: Option<String>,
    body: Value,
    other: Value,
    /// The service, and what makes the relay forget the key's answer.
    service: &'static str,
    /// Whether the key is kept for ever.
    for_ever: bool,
}

impl Change {
    async fn ask(&self, shop: &Shop, keys: &[&str], body: &Value) -> Answer {
        let mut call = shop.api.call(self.method.clone(), &self.path).json(body);
        for key in keys {
            call = call.header("idempotency-key", key);
        }
        if let Some(tag) = &self.if_match {
            call = call.header("if-match", tag);
        }
        let answer = call.send().await.expect("an answer");
        if self.path == "/v1/orders" {
            shop.remember(&answer);
        }
        answer
    }
}

/// A change by each route.
async fn changes(shop: &Shop) -> Vec<Change> {
    let product = shop.product().await;
    shop.put_in_stock(&product.sku, 100).await;
    let order = shop.place(&shop.order_for(&product.sku, 1)).await;
    let (sku, customer) = (&product.sku, &shop.customer);
    let priced =
        |name: &str| json!({"sku": Shop::fresh_sku(), "name": name, "price": {"amount": 100, "currency": "EUR"}});
    let placed = |quantity: i64| json!({"customer_id": customer, "payment_method": "pm_card_visa", "lines": [{"sku": sku, "quantity": quantity}]});
    let change = |method, path: String, service, body, other| Change {
        method,
        path,
        if_match: None,
        body,
        other,
        service,
        for_ever: true,
    };
    let post = |path: &str, service, body, other| change(Method::POST, path.to_owned(), service, body, other);
    vec![
        post("/v1/orders", "order", placed(1), placed(2)),
        post(
            &format!("/v1/inventory/{sku}/adjustments"),
            "inventory",
            json!({"delta": 1, "reason": "found"}),
            json!({"delta": 2, "reason": "found"}),
        ),
        post("/v1/products", "product", priced("Rope"), priced("Another rope")),
        Change {
            for_ever: false,
            ..post(
                &format!("/v1/orders/{}/cancel", order.id),
                "order",
                json!({"reason": "too late"}),
                json!({"reason": "too dear"}),
            )
        },
        Change {
            if_match: Some("\"1\"".into()),
            for_ever: false,
            ..change(
                Method::PATCH,
                format!("/v1/products/{}", product.id),
                "product",
                json!({"name": "Longer rope"}),
                json!({"name": "Shorter rope"}),
            )
        },
    ]
}

/// Lets the relay forget what it answered, as it does after a day.
async fn forget(shop: &Shop, service: &str, answer: &Answer) {
    let url = shop.stack.running().postgres_admin_url(service);
    let (client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    let body = answer.json();
    let id = body["id"].as_str().expect("an id");
    let sql = "DELETE FROM towpath.idempotency WHERE answer::jsonb #>> '{body,id}' = $1";
    assert!(client.execute(sql, &[&id]).await.expect("deleted") > 0, "{service} had an answer of {id}");
}

fn assert_same(again: &Answer, first: &Answer) {
    assert_eq!((again.status(), again.text()), (first.status(), first.text()));
    for header in ["location", "etag", "content-type", "cache-control"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_on_every_route_whatever_happened_since() {
    let shop = Shop::open();
    for change in changes(&shop).await {
        let key = Shop::fresh_key();
        let first = change.ask(&shop, &[&key], &change.body).await;
        assert!(first.is_success(), "{} {}: {}", change.method, change.path, first.text());
        let id = first.json()["id"].as_str().expect("an id").to_owned();
        // What was made goes on: an order to its end, a product to its next version.
        if change.service == "order" {
            shop.settled(id.parse().expect("an id")).await;
        }
        if change.service == "product" {
            let patch = shop.api.call(Method::PATCH, &format!("/v1/products/{id}")).header("if-match", "*");
            patch.json(&json!({"name": "A name since"})).send().await.and_then(|a| a.expect(200)).expect("changed");
        }
        assert_same(&change.ask(&shop, &[&key], &change.body).await, &first);
        let reused = change.ask(&shop, &[&key], &change.other).await;
        let _ = assert_refused(&reused, 422, "idempotency_key_reused");
        if change.for_ever {
            forget(&shop, change.service, &first).await;
            assert_same(&change.ask(&shop, &[&key], &change.body).await, &first);
            let reused = change.ask(&shop, &[&key], &change.other).await;
            let _ = assert_refused(&reused, 422, "idempotency_key_reused");
        }
    }
    shop.close().await;
}

#[tokio::test]
async fn a_key_that_is_wrong_or_not_alone_is_refused_on_every_route_and_changes_nothing() {
    let shop = Shop::open();
    let key = Shop::fresh_key();
    for change in changes(&shop).await {
        for wrong in [&"x".repeat(256), "two words", "sch\u{f6}n", "\u{202e}order-1", ""] {
            let answer = change.ask(&shop, &[wrong], &change.body).await;
            let _ = assert_refused(&answer, 400, "idempotency_key_invalid");
        }
        for two in [[key.as_str(), "another"], [&key, &key]] {
            // The gateway may refuse a repeated header of any name before the service does.
            assert_eq!(change.ask(&shop, &two, &change.body).await.status(), 400);
        }
        let longest = format!("{key}{}", "~".repeat(255 - key.len()));
        let done = change.ask(&shop, &[&longest], &change.body).await;
        assert!(done.is_success() && done.header("idempotent-replayed").is_none(), "{}", done.text());
        assert_same(&change.ask(&shop, &[&longest], &change.body).await, &done);
    }
    shop.close().await;
}

#[tokio::test]
async fn one_key_on_every_route_is_a_key_of_each() {
    let shop = Shop::open();
    let key = Shop::fresh_key();
    for change in changes(&shop).await {
        let first = change.ask(&shop, &[&key], &change.body).await;
        assert!(first.is_success() && first.header("idempotent-replayed").is_none(), "{}", first.text());
    }
    shop.close().await;
}

#[tokio::test]
async fn two_customers_may_choose_the_same_key() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let key = Shop::fresh_key();
    let order = shop.order_for(&sku, 1);
    let mut others = order.clone();
    others.customer_id = format!("{}-2", shop.customer);
    let first: Order = shop.place_as(&order, &key).await.read().expect("the order");
    let second = shop.place_as(&others, &key).await.expect(202).expect("another customer's");
    let second: Order = second.read().expect("the order");
    assert_ne!(first.id, second.id);
    for (order, placed) in [(&order, &first), (&others, &second)] {
        let again = shop.place_as(order, &key).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.read::<Order>().expect("the order").id, placed.id);
    }
    // Each cancels its own, with one key too.
    for placed in [&first, &second] {
        let call = shop.api.post(&format!("/v1/orders/{}/cancel", placed.id)).header("idempotency-key", &key);
        let cancelled: Order = call.send().await.and_then(|answer| answer.read()).expect("cancelled");
        assert_eq!((cancelled.id, cancelled.status.as_str()), (placed.id, "cancelled"));
    }
    shop.close().await;
}

#[tokio::test]
async fn a_product_that_is_created_twice_at_once_with_one_key_is_one_product() {
    let shop = Shop::open();
    let (key, price) = (Shop::fresh_key(), Money::eur(100));
    let product = NewProduct { sku: Shop::fresh_sku(), name: "Rope".into(), description: None, price };
    let ask = || shop.api.post("/v1/products").header("idempotency-key", &key).json(&product).send();
    let answers = futures::future::join_all((0..10).map(|_| ask())).await;
    let mut created = Vec::new();
    for answer in answers.into_iter().map(|answer| answer.expect("an answer")) {
        match answer.status() {
            201 => created.push(answer.read::<Product>().expect("the product").id),
            _ => drop(assert_refused(&answer, 409, "idempotency_key_in_flight")),
        }
    }
    created.dedup();
    assert_eq!(created.len(), 1, "one product");
    let without = shop.api.post("/v1/products").json(&product).send().await.expect("an answer");
    let _ = assert_refused(&without, 409, "sku_taken");
    shop.close().await;
}

#[tokio::test]
async fn a_change_that_was_refused_does_not_use_up_its_key() {
    let shop = Shop::open();
    let key = Shop::fresh_key();
    let product = shop.product().await;
    let taken = json!({"sku": product.sku, "name": "Rope", "price": {"amount": 100, "currency": "EUR"}});
    let create = |body: Value| shop.api.post("/v1/products").header("idempotency-key", &key).json(&body).send();
    let _ = assert_refused(&create(taken).await.expect("an answer"), 409, "sku_taken");
    let free = json!({"sku": Shop::fresh_sku(), "name": "Rope", "price": {"amount": 100, "currency": "EUR"}});
    create(free).await.and_then(|answer| answer.expect(201)).expect("nothing was done under it");

    let patch = |tag: &str| {
        let call = shop.api.call(Method::PATCH, &format!("/v1/products/{}", product.id)).header("if-match", tag);
        call.header("idempotency-key", &key).json(&json!({"name": "New"})).send()
    };
    let _ = assert_refused(&patch("\"7\"").await.expect("an answer"), 412, "precondition_failed");
    patch("\"1\"").await.and_then(|answer| answer.expect(200)).expect("nothing was done under it");

    let less = shop.api.adjust_stock(&product.sku, -1, "breakage", &key).await.expect("an answer");
    let _ = assert_refused(&less, 409, "insufficient_stock");
    shop.put_in_stock(&product.sku, 1).await;
    let done = shop.api.adjust_stock(&product.sku, -1, "breakage", &key).await.and_then(|answer| answer.expect(201));
    let done = done.expect("nothing was done under it");
    // What is impossible by now was done: its repetition is told so, also once the relay has forgotten.
    forget(&shop, "inventory", &done).await;
    let again = shop.api.adjust_stock(&product.sku, -1, "breakage", &key).await.expect("an answer");
    assert_same(&again, &done);
    shop.close().await;
}
