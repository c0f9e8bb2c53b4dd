//! Rate limits.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{ServiceSetup, Setup, TestRelay, eventually};

async fn relay() -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    (setup, relay)
}

async fn take(relay: &TestRelay, key: &str, bucket: Value) -> Value {
    let said = relay.call("alpha", "POST", &format!("/v1/rate-limits/{key}"), bucket).await;
    assert_eq!(said.status, 200, "{said:?}");
    said.body
}

const HOUR: u64 = 3_600_000;

#[tokio::test]
async fn a_bucket_gives_what_it_holds_and_then_says_when_there_will_be_more() {
    let (_setup, relay) = relay().await;
    let bucket = |cost: u32| json!({"rate": 10, "period_ms": HOUR, "burst": 5, "cost": cost});
    for left in [4, 3, 2] {
        let said = take(&relay, "k", bucket(1)).await;
        assert_eq!((&said["allowed"], &said["limit"], &said["remaining"]), (&json!(true), &json!(5), &json!(left)));
        assert_eq!(said["retry_after_ms"], 0);
    }
    let denied = take(&relay, "k", bucket(3)).await;
    assert_eq!(
        (&denied["allowed"], &denied["remaining"]),
        (&json!(false), &json!(2)),
        "a denial takes nothing: {denied}"
    );
    let (retry, reset) = (denied["retry_after_ms"].as_u64().unwrap(), denied["reset_after_ms"].as_u64().unwrap());
    let token = HOUR / 10;
    assert!((token - 5000..=token).contains(&retry), "one token is missing: {denied}");
    assert!((3 * token - 5000..=3 * token).contains(&reset), "three are: {denied}");
    assert_eq!(take(&relay, "k", bucket(2)).await["remaining"], 0);
    let look = take(&relay, "k", bucket(0)).await;
    assert_eq!((&look["allowed"], &look["remaining"]), (&json!(true), &json!(0)), "looking costs nothing: {look}");
    assert_eq!(take(&relay, "other", bucket(5)).await["allowed"], true, "another key is another bucket");
    relay.stop().await;
}

#[tokio::test]
async fn an_unused_bucket_is_full() {
    let (_setup, relay) = relay().await;
    let look = take(&relay, "new", json!({"rate": 1, "period_ms": 1000, "burst": 7, "cost": 0})).await;
    let full = json!({"allowed": true, "limit": 7, "remaining": 7, "reset_after_ms": 0, "retry_after_ms": 0});
    assert_eq!(look, full);
    relay.stop().await;
}

#[tokio::test]
async fn a_bucket_fills_up_again() {
    let (_setup, relay) = relay().await;
    let bucket = |cost: u32| json!({"rate": 20, "period_ms": 1000, "burst": 1, "cost": cost});
    assert_eq!(take(&relay, "k", bucket(1)).await["allowed"], true);
    eventually("a token is there", async || {
        let look = take(&relay, "k", bucket(0)).await;
        if look["remaining"] == 1 { Ok(()) } else { Err(look) }
    })
    .await;
    relay.stop().await;
}

#[tokio::test]
async fn callers_at_once_get_no_more_than_there_is() {
    let (setup, one) = relay().await;
    let other = setup.start().await;
    let takes = (0..60).map(|n| {
        let relay = if n % 2 == 0 { &one } else { &other };
        take(relay, "k", json!({"rate": 1, "period_ms": HOUR, "burst": 17}))
    });
    let allowed = join_all(takes).await.iter().filter(|said| said["allowed"] == true).count();
    assert_eq!(allowed, 17);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn high_rates_and_long_periods_are_exact() {
    let (_setup, relay) = relay().await;
    let fast =
        take(&relay, "fast", json!({"rate": 10_000_000, "period_ms": 1000, "burst": 1_000_000, "cost": 999_999})).await;
    assert_eq!((&fast["allowed"], &fast["remaining"], &fast["reset_after_ms"]), (&json!(true), &json!(1), &json!(100)));
    let year = 365 * 24 * HOUR;
    let slow =
        take(&relay, "slow", json!({"rate": 1, "period_ms": year, "burst": u32::MAX, "cost": u32::MAX - 1})).await;
    assert_eq!((&slow["allowed"], &slow["remaining"]), (&json!(true), &json!(1)));
    relay.stop().await;
}

#[tokio::test]
async fn the_largest_bucket_that_there_is_gives_all_that_it_holds() {
    let (_setup, relay) = relay().await;
    let bucket = |cost: u32| json!({"rate": 1, "period_ms": 366 * 24 * HOUR, "burst": u32::MAX, "cost": cost});
    let ten_years = json!(10 * 365 * 24 * HOUR);
    let all = take(&relay, "k", bucket(u32::MAX)).await;
    assert_eq!((&all["allowed"], &all["remaining"]), (&json!(true), &json!(0)), "{all}");
    assert_eq!((&all["reset_after_ms"], &all["retry_after_ms"]), (&ten_years, &json!(0)), "{all}");
    let more = take(&relay, "k", bucket(u32::MAX)).await;
    assert_eq!((&more["allowed"], &more["retry_after_ms"]), (&json!(false), &ten_years), "{more}");
    let (rate, burst) = (10_000, u32::MAX);
    let look = take(&relay, "fast", json!({"rate": rate, "period_ms": 1, "burst": burst, "cost": 0})).await;
    assert_eq!((&look["remaining"], &look["reset_after_ms"]), (&json!(u32::MAX), &json!(0)), "{look}");
    relay.stop().await;
}

#[tokio::test]
async fn a_bucket_that_shrank_is_not_emptier_than_empty() {
    let (_setup, relay) = relay().await;
    let bucket = |burst: u32, cost: u32| json!({"rate": 1, "period_ms": HOUR, "burst": burst, "cost": cost});
    assert_eq!(take(&relay, "k", bucket(100, 100)).await["remaining"], 0);
    let look = take(&relay, "k", bucket(2, 1)).await;
    assert_eq!((&look["allowed"], &look["remaining"]), (&json!(false), &json!(0)));
    assert!(look["retry_after_ms"].as_u64().unwrap() <= HOUR, "{look}");
    relay.stop().await;
}

#[tokio::test]
async fn buckets_that_can_not_be_are_refused() {
    let (_setup, relay) = relay().await;
    for bucket in [
        json!({"rate": 0, "period_ms": 1, "burst": 1}),
        json!({"rate": 1, "period_ms": 0, "burst": 1}),
        json!({"rate": 1, "period_ms": 1, "burst": 0}),
        json!({"rate": 1_u64 << 32, "period_ms": 1, "burst": 1}),
        json!({"rate": 1, "period_ms": 366 * 24 * HOUR + 1, "burst": 1}),
        json!({"rate": 1, "period_ms": u64::MAX, "burst": 1}),
    ] {
        let said = relay.call("alpha", "POST", "/v1/rate-limits/k", bucket.clone()).await;
        assert_eq!((said.status, said.code()), (400, "malformed_request"), "{bucket}: {said:?}");
    }
    for bucket in
        [json!({"rate": 1, "period_ms": 1, "burst": 1, "cost": 2}), json!({"rate": 10_001, "period_ms": 1, "burst": 1})]
    {
        let said = relay.call("alpha", "POST", "/v1/rate-limits/k", bucket.clone()).await;
        assert_eq!((said.status, said.code()), (422, "contradictory_request"), "{bucket}: {said:?}");
    }
    relay.stop().await;
}
