//! Orders that their customer takes back.

use futures::future::join_all;
use towpath_client::Order;
use towpath_tests::{DEADLINE, Shop, assert_refused, eventually};
use uuid::Uuid;

/// Waits until the order's only payment has this status.
async fn payment_becomes(shop: &Shop, order: Uuid, status: &str) {
    eventually(&format!("the payment of {order} becomes {status}"), DEADLINE, || async {
        let payments = shop.api.payments_of(order).await.map_err(|cause| cause.to_string())?;
        match payments.as_slice() {
            [payment] if payment.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_confirmed_order_is_refunded_and_its_stock_comes_back() {
    let shop = Shop::open();
    let sku = shop.sku(4).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 3)).await;
    assert_eq!(order.status, "confirmed");
    shop.stock_becomes(&sku, 1, 0).await;

    let answer = shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    let cancelled: Order = answer.read().expect("the order");
    assert_eq!((cancelled.id, cancelled.status.as_str()), (order.id, "cancelled"));
    payment_becomes(&shop, order.id, "refunded").await;
    shop.stock_becomes(&sku, 4, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn a_refund_that_is_pending_is_refunded_once_the_provider_says_so() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1).by("pm_card_pendingRefund")).await;
    assert_eq!(order.status, "confirmed");
    shop.api.cancel(order.id).await.and_then(|answer| answer.expect(202)).expect("202");
    payment_becomes(&shop, order.id, "refund_pending").await;
    // The timer asks.
    payment_becomes(&shop, order.id, "refunded").await;
    shop.close().await;
}

#[tokio::test]
async fn orders_cancelled_on_their_way_end_cancelled_wherever_they_were() {
    let shop = Shop::open();
    let sku = shop.sku(1000).await;
    let order = shop.order_for(&sku, 2);
    // Some are caught before their stock is reserved, some before they are paid, some after.
    let one = |hurry: bool| {
        let (shop, order) = (&shop, &order);
        async move {
            let placed = shop.place(order).await;
            if !hurry {
                eventually("the order moves", DEADLINE, || async {
                    let now = shop.api.order(placed.id).await.map_err(|cause| cause.to_string())?;
                    if now.status == "pending" { Err(now.status) } else { Ok(()) }
                })
                .await;
            }
            let answer = shop.api.cancel(placed.id).await.expect("an answer");
            answer.expect(202).expect("an order can be cancelled until it is shipped");
            placed.id
        }
    };
    for id in join_all((0..30).map(|n| one(n % 2 == 0))).await {
        assert_eq!(shop.settled(id).await.status, "cancelled");
    }
    shop.stock_becomes(&sku, 1000, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_came_to_nothing_cannot_be_cancelled() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 2)).await;
    assert_eq!(order.status, "rejected");
    let _ = assert_refused(&shop.api.cancel(order.id).await.expect("an answer"), 409, "not_cancellable");
    assert_eq!(shop.api.order(order.id).await.expect("the order").status, "rejected");
    shop.close().await;
}

#[tokio::test]
async fn ten_cancellations_at_once_refund_once() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let answers = join_all((0..10).map(|_| shop.api.cancel(order.id))).await;
    let accepted = answers.iter().filter(|answer| answer.as_ref().expect("an answer").status() == 202).count();
    assert!(accepted >= 1, "{answers:?}");
    for answer in answers.iter().flatten().filter(|answer| answer.status() != 202) {
        let _ = assert_refused(answer, 409, "not_cancellable");
    }
    payment_becomes(&shop, order.id, "refunded").await;
    shop.stock_becomes(&sku, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_that_nobody_knows_cannot_be_cancelled() {
    let shop = Shop::open();
    let answer = shop.api.cancel(Uuid::now_v7()).await.expect("an answer");
    let _ = assert_refused(&answer, 404, "unknown_order");
    shop.close().await;
}
