//! Parts that die in the middle of the work. The stack is this binary's own; its supervisor starts what died again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use rustix::process::Signal;
use towpath_client::{Client, NewOrder, Order};
use towpath_tests::{OwnStack, Shop, eventually};

/// Orders in a run.
const ORDERS: usize = 100;
/// How many clients place them.
const CLIENTS: usize = 10;
/// The kill comes when this many have been answered: others are at every point of their road then.
const KILL_AFTER: usize = 30;
/// From a kill until everything has come to its end: a restart with backoff, a rebalance of the consumer groups, and
/// work that was left behind.
const RECOVERY: Duration = Duration::from_secs(120);

/// Places an order as a client does that wants it: the same key again until there is an answer. What the edge says
/// while a part is dead must be that it is unavailable, and nothing else.
async fn place_until_taken(api: &Client, order: &NewOrder) -> towpath_client::Answer {
    let key = Shop::fresh_key();
    eventually("the order is taken", RECOVERY, || async {
        match api.place(order, &key, 0).await {
            Ok(answer) if answer.is_success() => Ok(answer),
            Ok(answer) => {
                let (status, text) = (answer.status(), answer.text());
                // 409: the request that was cut off is still being worked on. 504: the outcome isn't known.
                assert!(matches!(status, 409 | 503 | 504), "answered {status} while a part is dead: {text}");
                Err(format!("{status} {text}"))
            }
            Err(cause) => Err(format!("{cause:?}")),
        }
    })
    .await
}

/// Kills `part` in the middle of the orders and sees all of them end.
async fn all_orders_end_though_one_dies(own: &OwnStack, part: &str) {
    let shop = Shop::open_in(&own.stack);
    let sku = shop.sku(1000).await;
    let answered = AtomicUsize::new(0);
    let place = |n: usize| {
        let (shop, sku, answered) = (&shop, &sku, &answered);
        async move {
            let method = if n % 10 == 9 { "pm_card_chargeDeclined" } else { "pm_card_visa" };
            let answer = place_until_taken(&shop.api, &shop.order_for(sku, 1).by(method)).await;
            shop.remember(&answer);
            if answered.fetch_add(1, Ordering::Relaxed) + 1 == KILL_AFTER {
                own.kill(part);
            }
            answer.read::<Order>().expect("the order").id
        }
    };
    let before = own.pid(part);
    let ids: Vec<_> = stream::iter(0..ORDERS).map(place).buffer_unordered(CLIENTS).collect().await;
    eventually(&format!("{part} runs again"), RECOVERY, || async {
        let now = own.pid(part);
        if now.is_some() && now != before { Ok(()) } else { Err(format!("{now:?}, was {before:?}")) }
    })
    .await;

    let mut confirmed = 0;
    for id in ids {
        let order = eventually(&format!("order {id} ends"), RECOVERY, || async {
            match shop.api.order(id).await {
                Ok(order) if towpath_client::is_end_state(&order.status) => Ok(order),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        confirmed += i64::from(order.status == "confirmed");
    }
    assert_eq!(confirmed, 90, "every order that pays is confirmed, every other rejected");
    shop.stock_becomes(&sku, 1000 - confirmed, 0).await;
    shop.close_within(RECOVERY).await;
}

#[tokio::test]
async fn orders_outlive_the_relay_and_the_host() {
    // One after the other in one stack: each kill starts from a stack at rest.
    let own = OwnStack::start(&[]);
    all_orders_end_though_one_dies(&own, "relay").await;
    all_orders_end_though_one_dies(&own, "host").await;
    // And once more, now that both have been restarted.
    all_orders_end_though_one_dies(&own, "relay").await;
    own.towpath(&["audit", "--settle", "60"]);
}

/// Up means that the road is open: publishers have their shards and consumers their partitions. So it is after a first start, and
/// after one that finds topics, groups and offsets of before.
#[tokio::test]
async fn an_order_that_comes_right_after_up_is_confirmed() {
    let own = OwnStack::start(&[]);
    confirmed_at_once(&own).await;
    own.towpath(&["down"]);
    let own = own.start_again();
    confirmed_at_once(&own).await;
}

/// Places an order that waits for its outcome no longer than a client would.
async fn confirmed_at_once(own: &OwnStack) {
    let shop = Shop::open_in(&own.stack);
    // A product that was there before: no event has to arrive first.
    let order = NewOrder::paying("somebody", "LAMP-BOW", 1);
    let answer = shop.api.place(&order, &Shop::fresh_key(), 5).await.expect("an answer");
    let order: Order = answer.expect(201).expect("the order is taken").read().expect("the order");
    assert_eq!(order.status, "confirmed", "within the 5 s for which the client waited");
}

/// How long Kafka stands still: longer than the session of a consumer, and than the lease of a publisher.
const STANDSTILL: Duration = Duration::from_secs(15);
/// Between two standstills: consumers and publishers are in the middle of coming back.
const BETWEEN: Duration = Duration::from_secs(10);
/// Orders that are placed meanwhile.
const PACE: Duration = Duration::from_millis(50);

/// One standstill is survived by the client library alone, most times; the second one meets it while it comes back.
#[tokio::test]
async fn orders_end_after_kafka_has_stood_still_twice() {
    let own = OwnStack::start(&[]);
    let shop = Shop::open_in(&own.stack);
    let sku = shop.sku(10_000).await;
    let mut ids = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    for (signal, span) in [(Signal::STOP, STANDSTILL), (Signal::CONT, BETWEEN), (Signal::STOP, STANDSTILL)] {
        own.signal("kafka", signal);
        let began = Instant::now();
        while began.elapsed() < span {
            pace.tick().await;
            let answer = place_until_taken(&shop.api, &shop.order_for(&sku, 1)).await;
            shop.remember(&answer);
            ids.push(answer.read::<Order>().expect("the order").id);
        }
    }
    own.signal("kafka", Signal::CONT);
    for id in &ids {
        eventually(&format!("order {id} ends"), RECOVERY, || async {
            match shop.api.order(*id).await {
                Ok(order) if order.status == "confirmed" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    shop.close_within(RECOVERY).await;
    own.towpath(&["audit", "--settle", "60"]);
}
