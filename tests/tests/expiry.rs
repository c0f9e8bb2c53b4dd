//! Orders that nobody pays in time, and orders cancelled while their payment can't be reached. The stack is this
//! binary's own: its orders expire after seconds, and the database of payments is stopped and started under it.

use std::time::Duration;

use towpath_client::Order;
use towpath_tests::{OwnStack, Shop, assert_refused, eventually};

/// Room for the sweep's period, and for deliveries that back off while the database is away.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until an order has this status.
async fn becomes(shop: &Shop, order: &Order, status: &str) -> Order {
    eventually(&format!("order {} becomes {status}", order.id), PATIENCE, || async {
        match shop.api.order(order.id).await {
            Ok(order) if order.status == status => Ok(order),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn an_order_that_cannot_be_paid_expires_or_is_cancelled_and_never_costs() {
    let own = OwnStack::start(&[("SPIN_VARIABLE_ORDER_EXPIRY_SECONDS", "8")]);
    let shop = Shop::open_in(&own.stack);
    let (expiring, cancelled_early) = (shop.sku(5).await, shop.sku(5).await);
    let paid = shop.place_and_wait(&shop.order_for(&expiring, 1)).await;
    assert_eq!(paid.status, "confirmed");
    shop.stock_becomes(&expiring, 4, 0).await;

    own.towpath(&["stop", "postgres-payment"]);
    let order = shop.place(&shop.order_for(&expiring, 2)).await;
    becomes(&shop, &order, "reserved").await;
    shop.stock_becomes(&expiring, 4, 2).await;
    let taken_out = shop.api.adjust_stock(&expiring, -3, "breakage", &Shop::fresh_key()).await.expect("an answer");
    let _ = assert_refused(&taken_out, 409, "insufficient_stock");

    let other = shop.place(&shop.order_for(&cancelled_early, 2)).await;
    becomes(&shop, &other, "reserved").await;
    shop.api.cancel(other.id).await.and_then(|answer| answer.expect(202)).expect("202");
    becomes(&shop, &other, "cancelled").await;
    shop.stock_becomes(&cancelled_early, 5, 0).await;

    let expired = becomes(&shop, &order, "expired").await;
    assert!(expired.reason.is_some(), "{expired:?}");
    shop.stock_becomes(&expiring, 4, 0).await;
    let _ = assert_refused(&shop.api.cancel(order.id).await.expect("an answer"), 409, "not_cancellable");

    // Now payment hears what happened, in whatever order: it must keep nothing of either.
    own.towpath(&["start", "postgres-payment"]);
    let next = eventually("payment works again", PATIENCE, || async {
        let order = shop.place_and_wait(&shop.order_for(&expiring, 1)).await;
        if order.status == "confirmed" { Ok(order) } else { Err(format!("{order:?}")) }
    })
    .await;
    assert_eq!(shop.api.payments_of(paid.id).await.expect("its payments").len(), 1);
    assert_ne!(next.id, order.id);
    // Payment hears of the reserved stock and of the end by two topics, in whatever order, and asks order in between.
    for order in [&order, &other] {
        let payments = shop.api.payments_of(order.id).await.expect("its payments");
        assert!(payments.iter().all(|payment| payment.status == "cancelled"), "{payments:?}");
    }
    shop.close_within(PATIENCE).await;
    own.towpath(&["audit", "--settle", "60"]);
}
