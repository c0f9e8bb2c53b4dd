//! What the stack publishes while it works, as a subscriber of another house would see it in Kafka.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use towpath_client::{Order, Product};
use towpath_tests::{DEADLINE, Record, Shop, eventually, records_of};
use uuid::Uuid;

/// The events of this topic and key, once these types of them are there.
async fn published(shop: &Shop, topic: &str, key: &str, wanted: &[&str]) -> Vec<Record> {
    let brokers = shop.stack.running().kafka.clone();
    eventually(&format!("{wanted:?} of {key} in {topic}"), DEADLINE, || async {
        let records = records_of(&brokers, topic, key).await;
        let kinds: Vec<&str> = records.iter().map(Record::kind).collect();
        if wanted.iter().all(|kind| kinds.contains(kind)) { Ok(()) } else { Err(format!("{kinds:?}")) }
    })
    .await;
    records_of(&brokers, topic, key).await
}

fn kinds(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::kind).collect()
}

#[tokio::test]
async fn an_order_tells_its_story_in_order_and_under_its_own_key() {
    let shop = Shop::open();
    let sku = shop.sku(5).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 2)).await;
    shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    let key = order.id.to_string();
    for (topic, story) in [
        ("order.events", &["order.placed", "order.confirmed", "order.cancelled"][..]),
        ("payment.events", &["payment.captured", "payment.refunded"][..]),
        ("inventory.events", &["stock.reserved", "stock.released"][..]),
    ] {
        let records = published(&shop, topic, &key, story).await;
        assert_eq!(kinds(&records), story, "{topic}: each once, in the order in which they became true");
        let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions.len(), 1, "one key, one partition");
        assert!(records.iter().all(|record| record.data["order_id"] == json!(order.id)), "{records:?}");
    }
    shop.close().await;
}

#[tokio::test]
async fn events_are_cloud_events_with_ids_of_their_own() {
    let shop = Shop::open();
    let sku = shop.sku(5).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let records = published(&shop, "order.events", &order.id.to_string(), &["order.placed", "order.confirmed"]).await;
    let mut ids = BTreeSet::new();
    for record in &records {
        let header = |name: &str| record.headers.get(name).map_or("", String::as_str);
        assert_eq!((header("ce_specversion"), header("ce_source")), ("1.0", "/order"), "{record:?}");
        assert_eq!(header("content-type"), "application/json", "{record:?}");
        assert!(header("ce_time").ends_with('Z'), "UTC: {record:?}");
        assert!(ids.insert(header("ce_id").to_owned()), "an id twice: {record:?}");
        Uuid::parse_str(header("ce_id")).expect("the id is a UUID");
    }
    shop.close().await;
}

#[tokio::test]
async fn changes_of_a_product_are_published_in_the_order_of_their_versions() {
    let shop = Shop::open();
    let product = shop.product().await;
    let path = format!("/v1/products/{}", product.id);
    // Four at once, each taking the version that it finds: commits of one key that press on each other's heels.
    join_all((0..4).map(|_| async {
        let mut done = 0;
        while done < 10 {
            let seen = shop.api.get(&path).send().await.expect("an answer");
            let etag = seen.header("etag").expect("an ETag").to_owned();
            let name = format!("Name {}", Uuid::new_v4());
            let call = shop.api.call(Method::PATCH, &path).header("if-match", &etag).json(&json!({ "name": name }));
            match call.send().await.expect("an answer").status() {
                200 => done += 1,
                412 => {}
                status => panic!("{status}"),
            }
        }
    }))
    .await;
    let brokers = shop.stack.running().kafka.clone();
    let versions = eventually("41 versions in Kafka", DEADLINE, || async {
        let records = records_of(&brokers, "product.events", &product.sku).await;
        let versions: Vec<i64> = records.iter().filter_map(|record| record.data["version"].as_i64()).collect();
        if versions.len() >= 41 { Ok(versions) } else { Err(format!("{versions:?}")) }
    })
    .await;
    assert_eq!(versions, (1..=41).collect::<Vec<i64>>());
    let now: Product = shop.api.get(&path).send().await.and_then(|answer| answer.read()).expect("the product");
    assert_eq!(now.version, 41);
    shop.close().await;
}

#[tokio::test]
async fn the_trace_of_a_request_reaches_every_event_that_follows_from_it() {
    let shop = Shop::open();
    let sku = shop.sku(5).await;
    let trace = Uuid::new_v4().simple().to_string();
    let call = shop.api.post("/v1/orders").header("idempotency-key", &Shop::fresh_key());
    let call = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).json(&shop.order_for(&sku, 1));
    let answer = call.send().await.expect("an answer");
    shop.remember(&answer);
    let order: Order = answer.expect(202).and_then(|answer| answer.read()).expect("202");
    let key = order.id.to_string();
    // Each is published by another component, because of the one before: the context went through all of them.
    for (topic, kind) in [
        ("order.events", "order.placed"),
        ("inventory.events", "stock.reserved"),
        ("payment.events", "payment.captured"),
        ("order.events", "order.confirmed"),
    ] {
        let records = published(&shop, topic, &key, &[kind]).await;
        let record = records.iter().find(|record| record.kind() == kind).expect("published");
        let carried = record.headers.get("traceparent").map_or("", String::as_str);
        assert!(carried.starts_with(&format!("00-{trace}-")), "{kind} carries {carried:?}, the client sent {trace}");
        assert_eq!(record.headers.get("ce_traceparent").map(String::as_str), Some(carried), "{kind}");
    }
    shop.close().await;
}
