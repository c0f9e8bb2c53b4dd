//! More demand than stock, all at once.

use futures::StreamExt;
use futures::stream;
use towpath_tests::Shop;

#[tokio::test]
async fn two_hundred_orders_for_fifty_pieces_sell_exactly_fifty() {
    let shop = Shop::open();
    let sku = shop.sku(50).await;
    let order = shop.order_for(&sku, 1);
    let outcomes: Vec<_> = stream::iter(0..200)
        .map(|_| async {
            let placed = shop.place(&order).await;
            shop.settled(placed.id).await
        })
        .buffer_unordered(200)
        .collect()
        .await;
    let count = |status: &str, reason: Option<&str>| {
        outcomes.iter().filter(|order| order.status == status && order.reason.as_deref() == reason).count()
    };
    assert_eq!(count("confirmed", None), 50);
    assert_eq!(count("rejected", Some("out_of_stock")), 150);
    shop.stock_becomes(&sku, 0, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn orders_for_the_same_skus_in_opposite_order_do_not_block_each_other() {
    let shop = Shop::open();
    let (a, b) = (shop.sku(1000).await, shop.sku(1000).await);
    let orders = [shop.order_for(&a, 1).and(&b, 1), shop.order_for(&b, 1).and(&a, 1)];
    let outcomes: Vec<_> = stream::iter(0..60)
        .map(|n| {
            let (shop, order) = (&shop, &orders[n % 2]);
            async move { shop.settled(shop.place(order).await.id).await.status }
        })
        .buffer_unordered(60)
        .collect()
        .await;
    assert!(outcomes.iter().all(|status| status == "confirmed"), "{outcomes:?}");
    shop.stock_becomes(&a, 940, 0).await;
    shop.stock_becomes(&b, 940, 0).await;
    shop.close().await;
}
