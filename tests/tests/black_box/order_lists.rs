//! Finding orders again.

use std::collections::BTreeSet;

use towpath_client::{Order, Page};
use towpath_tests::{Shop, assert_refused};
use uuid::Uuid;

async fn page(shop: &Shop, query: &str) -> Page<Order> {
    let path = format!("/v1/orders?customer_id={}{query}", shop.customer);
    shop.api.get(&path).send().await.and_then(|answer| answer.expect(200)?.read()).expect("a page of orders")
}

#[tokio::test]
async fn pages_hold_every_order_once_though_more_are_placed_meanwhile() {
    let shop = Shop::open();
    let sku = shop.sku(100).await;
    let mut placed = BTreeSet::new();
    for _ in 0..7 {
        placed.insert(shop.place(&shop.order_for(&sku, 1)).await.id);
    }
    let mut seen = Vec::new();
    let mut query = String::from("&limit=3");
    loop {
        let page = page(&shop, &query).await;
        assert!(page.data.len() <= 3, "{page:?}");
        seen.extend(page.data.into_iter().map(|order| order.id));
        let Some(cursor) = page.next_cursor else { break };
        query = format!("&limit=3&cursor={cursor}");
        shop.place(&shop.order_for(&sku, 1)).await;
    }
    let found: BTreeSet<Uuid> = seen.iter().copied().collect();
    assert_eq!(found.len(), seen.len(), "none twice: {seen:?}");
    assert!(placed.is_subset(&found), "none left out: {seen:?}");
    shop.close().await;
}

#[tokio::test]
async fn a_status_picks_the_orders_that_have_it() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let confirmed = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let rejected = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    for (status, wanted) in [("confirmed", vec![confirmed.id]), ("rejected", vec![rejected.id]), ("expired", vec![])] {
        let found: Vec<Uuid> =
            page(&shop, &format!("&status={status}")).await.data.iter().map(|order| order.id).collect();
        assert_eq!(found, wanted, "{status}");
    }
    shop.close().await;
}

#[tokio::test]
async fn another_customer_sees_none_of_them() {
    let (shop, stranger) = (Shop::open(), Shop::open());
    let sku = shop.sku(1).await;
    shop.place(&shop.order_for(&sku, 1)).await;
    assert_eq!(page(&shop, "").await.data.len(), 1);
    assert_eq!(page(&stranger, "").await.data, []);
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_nobody_placed_is_not_found() {
    let shop = Shop::open();
    for path in ["", "/history"] {
        let path = format!("/v1/orders/{}{path}", Uuid::now_v7());
        let _ = assert_refused(&shop.api.get(&path).send().await.expect("an answer"), 404, "unknown_order");
    }
    shop.close().await;
}
