//! An order's road from placed to its end.

use reqwest::Method;
use towpath_client::{Money, NewOrder, Order, is_end_state};
use towpath_tests::{DEADLINE, Shop, assert_refused, assert_wrong_fields, eventually};

#[tokio::test]
async fn an_order_that_pays_is_confirmed_and_its_stock_sold() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;

    let placed = shop.place(&shop.order_for(&sku, 3)).await;
    assert_eq!(placed.customer_id, shop.customer);
    assert_eq!(placed.total, Money::eur(3750));
    assert_eq!((placed.lines[0].unit_price.amount, placed.lines[0].total.amount), (1250, 3750));

    let order = shop.settled(placed.id).await;
    assert_eq!((order.status.as_str(), order.reason.as_deref()), ("confirmed", None));
    let payments = shop.api.payments_of(order.id).await.expect("its payments");
    assert_eq!(payments.len(), 1, "{payments:?}");
    assert_eq!(payments[0].status, "captured");
    assert_eq!(payments[0].amount, order.total);
    assert_eq!(Some(payments[0].id), order.payment_id);
    assert!(payments[0].provider_reference.is_some());
    shop.stock_becomes(&sku, 7, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn who_prefers_to_wait_gets_the_outcome() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    assert_eq!(order.status, "confirmed");
    shop.close().await;
}

#[tokio::test]
async fn who_does_not_wait_is_told_where_the_order_is() {
    let shop = Shop::open();
    let sku = shop.sku(10).await;
    let answer = shop.place_as(&shop.order_for(&sku, 1), &Shop::fresh_key()).await;
    let order: Order = answer.clone().expect(202).and_then(|answer| answer.read()).expect("202 with the order");
    let location = answer.header("location").expect("a Location");
    assert_eq!(location, format!("/v1/orders/{}", order.id));
    let found: Order = shop.api.get(location).send().await.and_then(|answer| answer.read()).expect("the order");
    assert_eq!((found.id, found.total), (order.id, order.total));
    shop.close().await;
}

#[tokio::test]
async fn the_history_tells_what_happened_in_order() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    let history = shop.api.history(order.id).await.expect("its history");
    let kinds: Vec<&str> = history.iter().map(|entry| entry.kind.as_str()).collect();
    let wanted = ["order.placed", "stock.reserved", "payment.captured", "order.confirmed"];
    let mut rest = kinds.iter();
    assert!(wanted.iter().all(|kind| rest.any(|found| found == kind)), "wanted {wanted:?} in this order: {kinds:?}");
    assert!(history.iter().all(|entry| entry.event_id.as_deref().is_some_and(|id| !id.is_empty())), "{history:?}");
    assert!(history.is_sorted_by(|a, b| a.at <= b.at), "times go forward: {history:?}");
    shop.close().await;
}

#[tokio::test]
async fn a_declined_order_is_rejected_and_its_stock_released() {
    for (method, reason) in
        [("pm_card_chargeDeclined", "card_declined"), ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")]
    {
        let shop = Shop::open();
        let sku = shop.sku(5).await;
        let order = shop.place_and_wait(&shop.order_for(&sku, 5).by(method)).await;
        assert_eq!((order.status.as_str(), order.reason.as_deref()), ("rejected", Some(reason)));
        let payments = shop.api.payments_of(order.id).await.expect("its payments");
        assert_eq!(payments.len(), 1, "{payments:?}");
        assert_eq!((payments[0].status.as_str(), payments[0].reason.as_deref()), ("declined", Some(reason)));
        shop.stock_becomes(&sku, 5, 0).await;
        shop.close().await;
    }
}

#[tokio::test]
async fn what_the_provider_cannot_charge_is_rejected_with_the_reason() {
    let shop = Shop::open();
    let place = async |amount: i64, currency: &str| {
        let sku = shop.product_at(Money { amount, currency: currency.into() }).await.sku;
        shop.put_in_stock(&sku, 1).await;
        let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
        shop.stock_becomes(&sku, i64::from(order.status != "confirmed"), 0).await;
        (order.status, order.reason)
    };
    for (amount, currency, reason) in [
        (49, "EUR", "amount_too_small"),
        (1_000_000_000_000, "EUR", "amount_too_large"),
        (5_124, "KWD", "amount_not_chargeable"),
        (10_000, "IRR", "currency_not_supported"),
    ] {
        assert_eq!(place(amount, currency).await, ("rejected".into(), Some(reason.into())), "{amount} {currency}");
    }
    // Stripe counts these in other units than ISO 4217.
    for (amount, currency) in [(5, "ISK"), (500_000, "MGA"), (5_120, "KWD")] {
        assert_eq!(place(amount, currency).await, ("confirmed".into(), None), "{amount} {currency}");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_answer_about_an_order_says_that_nobody_is_paid() {
    let shop = Shop::open();
    let sku = shop.sku(1).await;
    let placed = shop.place_as(&shop.order_for(&sku, 1), &Shop::fresh_key()).await;
    assert_eq!(placed.header("towpath-payment-provider"), Some("sandbox"));
    for (path, expected) in [
        (placed.header("location").expect("a location"), Some("sandbox")),
        ("/v1/orders/nobody", Some("sandbox")),
        ("/v1/products/nobody", None),
    ] {
        let answer = shop.api.get(path).send().await.expect("an answer");
        assert_eq!(answer.header("towpath-payment-provider"), expected, "{path}");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_order_for_more_than_there_is_takes_nothing_and_pays_nothing() {
    let shop = Shop::open();
    let (enough, short) = (shop.sku(10).await, shop.sku(1).await);
    let order = shop.place_and_wait(&shop.order_for(&enough, 2).and(&short, 2)).await;
    assert_eq!((order.status.as_str(), order.reason.as_deref()), ("rejected", Some("out_of_stock")));
    assert_eq!(order.payment_id, None);
    assert_eq!(shop.api.payments_of(order.id).await.expect("its payments"), []);
    shop.stock_becomes(&enough, 10, 0).await;
    shop.stock_becomes(&short, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn two_lines_with_one_sku_are_one_demand() {
    let shop = Shop::open();
    let sku = shop.sku(5).await;
    let too_many = shop.place_and_wait(&shop.order_for(&sku, 3).and(&sku, 3)).await;
    assert_eq!(too_many.reason.as_deref(), Some("out_of_stock"));
    let all = shop.place_and_wait(&shop.order_for(&sku, 3).and(&sku, 2)).await;
    assert_eq!(all.status, "confirmed");
    assert_eq!((all.lines.len(), all.total.clone()), (2, Money::eur(5 * 1250)));
    shop.stock_becomes(&sku, 0, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn a_product_without_stock_yet_is_out_of_stock() {
    let shop = Shop::open();
    let sku = shop.product().await.sku;
    let order = shop.place_and_wait(&shop.order_for(&sku, 1)).await;
    assert_eq!((order.status.as_str(), order.reason.as_deref()), ("rejected", Some("out_of_stock")));
    shop.close().await;
}

#[tokio::test]
async fn a_product_that_is_new_can_be_ordered_at_once() {
    // The order service may not have heard of it yet, and then asks.
    let shop = Shop::open();
    for _ in 0..10 {
        let product = shop.product_at(Money::eur(77)).await;
        let placed = shop.place(&shop.order_for(&product.sku, 2)).await;
        assert_eq!(placed.total, Money::eur(154));
    }
    shop.close().await;
}

#[tokio::test]
async fn a_sku_that_nobody_knows_is_refused_by_name() {
    let shop = Shop::open();
    let (known, unknown) = (shop.sku(1).await, Shop::fresh_sku());
    let order = shop.order_for(&known, 1).and(&unknown, 1);
    let answer = shop.place_as(&order, &Shop::fresh_key()).await;
    let problem = assert_refused(&answer, 422, "unknown_sku");
    assert_wrong_fields(&problem, &[("lines[1].sku", "unknown_sku")]);
    shop.stock_becomes(&known, 1, 0).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_keeps_the_price_that_it_was_placed_at() {
    let shop = Shop::open();
    let product = shop.product().await;
    shop.put_in_stock(&product.sku, 10).await;
    let before = shop.place_and_wait(&shop.order_for(&product.sku, 1)).await;

    let path = format!("/v1/products/{}", product.id);
    let etag = shop.api.get(&path).send().await.expect("an answer").header("etag").expect("an ETag").to_owned();
    let change = serde_json::json!({ "price": Money::eur(2000) });
    let changed = shop.api.call(Method::PATCH, &path).header("if-match", &etag).json(&change).send().await;
    changed.and_then(|answer| answer.expect(200)).expect("the price changes");

    eventually("an order costs the new price", DEADLINE, || async {
        let order = shop.place_and_wait(&shop.order_for(&product.sku, 1)).await;
        if order.total == Money::eur(2000) { Ok(()) } else { Err(format!("{:?}", order.total)) }
    })
    .await;
    assert_eq!(shop.api.order(before.id).await.expect("the first order").total, Money::eur(1250));
    shop.close().await;
}

#[tokio::test]
async fn an_order_of_a_hundred_lines_is_one_order() {
    let shop = Shop::open();
    let skus = futures::future::join_all((0..100).map(|_| shop.sku(10))).await;
    let mut order = NewOrder::paying(&shop.customer, &skus[0], 1);
    for sku in &skus[1..] {
        order = order.and(sku, 1);
    }
    let order = shop.place_and_wait(&order).await;
    assert!(is_end_state(&order.status));
    assert_eq!((order.status.as_str(), order.lines.len()), ("confirmed", 100));
    assert_eq!(order.total, Money::eur(125_000));
    shop.close().await;
}
