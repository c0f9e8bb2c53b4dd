//! Products.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use towpath_client::{Answer, Money, NewProduct, Page, Product};
use towpath_tests::{Shop, assert_refused};
use uuid::Uuid;

async fn change(shop: &Shop, id: Uuid, etag: &str, change: Value) -> Answer {
    let call = shop.api.call(Method::PATCH, &format!("/v1/products/{id}"));
    call.header("if-match", etag).json(&change).send().await.expect("an answer")
}

async fn look(shop: &Shop, id: Uuid) -> Answer {
    shop.api.get(&format!("/v1/products/{id}")).send().await.and_then(|answer| answer.expect(200)).expect("200")
}

fn etag(answer: &Answer) -> String {
    answer.header("etag").expect("an ETag").to_owned()
}

#[tokio::test]
async fn a_product_is_created_where_its_location_says() {
    let shop = Shop::open();
    let product = NewProduct {
        sku: Shop::fresh_sku(),
        name: "Rope, 10 m".into(),
        description: Some("Hemp – three strands".into()),
        price: Money { amount: 499, currency: "GBP".into() },
    };
    let answer = shop.api.post("/v1/products").json(&product).send().await.and_then(|answer| answer.expect(201));
    let answer = answer.expect("201");
    let created: Product = answer.read().expect("the product");
    assert_eq!(answer.header("location"), Some(format!("/v1/products/{}", created.id).as_str()));
    assert_eq!(
        (&created.sku, &created.name, &created.description),
        (&product.sku, &product.name, &product.description)
    );
    assert_eq!((&created.price, created.active, created.version), (&product.price, true, 1));

    let found = look(&shop, created.id).await;
    assert_eq!(found.read::<Product>().expect("the product"), created);
    assert_eq!(etag(&found), etag(&answer));
    shop.close().await;
}

#[tokio::test]
async fn who_has_the_newest_version_gets_no_body() {
    let shop = Shop::open();
    let product = shop.product().await;
    let path = format!("/v1/products/{}", product.id);
    let first = etag(&look(&shop, product.id).await);
    let again = shop.api.get(&path).header("if-none-match", &first).send().await.expect("an answer");
    assert_eq!((again.status(), again.text().as_str()), (304, ""));
    assert_eq!(etag(&again), first);
    let other = shop.api.get(&path).header("if-none-match", "\"another\"").send().await.expect("an answer");
    assert_eq!(other.status(), 200);
    shop.close().await;
}

#[tokio::test]
async fn a_sku_belongs_to_one_product() {
    let shop = Shop::open();
    let sku = Shop::fresh_sku();
    let product = NewProduct { sku, name: "A".into(), description: None, price: Money::eur(1) };
    let answers = join_all((0..10).map(|_| shop.api.post("/v1/products").json(&product).send())).await;
    let created = answers.iter().flatten().filter(|answer| answer.status() == 201).count();
    assert_eq!(created, 1);
    for answer in answers.iter().flatten().filter(|answer| answer.status() != 201) {
        let _ = assert_refused(answer, 409, "sku_taken");
    }
    shop.close().await;
}

#[tokio::test]
async fn a_change_is_seen_at_once_by_who_looked_before() {
    let shop = Shop::open();
    let product = shop.product().await;
    for n in 1..=20 {
        // Each look fills the cache that the next change must empty.
        let before = look(&shop, product.id).await;
        assert_eq!(before.read::<Product>().expect("the product").version, n);
        let changed = change(&shop, product.id, &etag(&before), json!({ "name": format!("Name {n}") })).await;
        let changed: Product = changed.expect(200).and_then(|answer| answer.read()).expect("200");
        assert_eq!((changed.version, changed.name.as_str()), (n + 1, format!("Name {n}").as_str()));
        assert_eq!(look(&shop, product.id).await.read::<Product>().expect("the product"), changed);
    }
    shop.close().await;
}

#[tokio::test]
async fn of_changes_to_one_version_one_wins() {
    let shop = Shop::open();
    let product = shop.product().await;
    let tag = etag(&look(&shop, product.id).await);
    let answers =
        join_all((0..10).map(|n| change(&shop, product.id, &tag, json!({ "price": Money::eur(2000 + n) })))).await;
    let won: Vec<Product> = answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .map(|answer| answer.read().expect("the product"))
        .collect();
    assert_eq!(won.len(), 1, "{won:?}");
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        let _ = assert_refused(answer, 412, "precondition_failed");
    }
    assert_eq!(look(&shop, product.id).await.read::<Product>().expect("the product"), won[0]);
    shop.close().await;
}

#[tokio::test]
async fn a_change_needs_to_say_which_version_it_changes() {
    let shop = Shop::open();
    let product = shop.product().await;
    let call = shop.api.call(Method::PATCH, &format!("/v1/products/{}", product.id));
    let answer = call.json(&json!({ "name": "B" })).send().await.expect("an answer");
    let _ = assert_refused(&answer, 428, "precondition_required");
    shop.close().await;
}

#[tokio::test]
async fn a_product_that_nobody_knows_is_not_found() {
    let shop = Shop::open();
    let path = format!("/v1/products/{}", Uuid::now_v7());
    let _ = assert_refused(&shop.api.get(&path).send().await.expect("an answer"), 404, "unknown_product");
    let gone = shop.api.call(Method::PATCH, &path).header("if-match", "\"1\"").json(&json!({ "name": "B" }));
    let _ = assert_refused(&gone.send().await.expect("an answer"), 404, "unknown_product");
    shop.close().await;
}

#[tokio::test]
async fn a_product_taken_off_sale_cannot_be_ordered_and_comes_back() {
    let shop = Shop::open();
    let product = shop.product().await;
    shop.put_in_stock(&product.sku, 10).await;
    for active in [false, true] {
        let tag = etag(&look(&shop, product.id).await);
        let changed = change(&shop, product.id, &tag, json!({ "active": active })).await;
        changed.expect(200).expect("200");
        // The order service hears of it by an event.
        towpath_tests::eventually("orders follow", towpath_tests::DEADLINE, || async {
            let answer = shop.place_as(&shop.order_for(&product.sku, 1), &Shop::fresh_key()).await;
            if answer.is_success() == active { Ok(answer) } else { Err(answer.text()) }
        })
        .await;
    }
    shop.close().await;
}

#[tokio::test]
async fn the_list_finds_a_sku() {
    let shop = Shop::open();
    let product = shop.product().await;
    shop.product().await;
    let path = format!("/v1/products?sku={}", product.sku);
    let page: Page<Product> = shop.api.get(&path).send().await.and_then(|answer| answer.read()).expect("a page");
    assert_eq!(page.data, [product]);
    assert_eq!(page.next_cursor, None);
    shop.close().await;
}

#[tokio::test]
async fn pages_hold_every_product_once_though_more_are_created_meanwhile() {
    let shop = Shop::open();
    let created: BTreeSet<Uuid> = join_all((0..5).map(|_| shop.product())).await.into_iter().map(|p| p.id).collect();
    let (mut seen, mut path) = (Vec::new(), String::from("/v1/products?limit=10"));
    loop {
        let page: Page<Product> = shop.api.get(&path).send().await.and_then(|answer| answer.read()).expect("a page");
        assert!(page.data.len() <= 10);
        seen.extend(page.data.into_iter().map(|product| product.id));
        let Some(cursor) = page.next_cursor else { break };
        path = format!("/v1/products?limit=10&cursor={cursor}");
        // Other tests create products all the while, and for one that runs alone so does this one.
        if seen.len() < 50 {
            shop.product().await;
        }
    }
    let found: BTreeSet<Uuid> = seen.iter().copied().collect();
    assert_eq!(found.len(), seen.len(), "none twice");
    assert!(created.is_subset(&found), "none left out");
    shop.close().await;
}
