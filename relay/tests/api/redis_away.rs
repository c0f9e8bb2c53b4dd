//! Redis is refused, frozen, killed, and comes back: every call is answered in bounded time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use towpath_relay::redis::Space;
use towpath_relay::redis::cache::Lookup;
use towpath_wire::{QueryCache, QueryRequest, QueryResponse};

use crate::redis_server::RedisServer;
use crate::support::{Answer, ServiceSetup, Setup, TestRelay, eventually, free_port};

/// What one call to Redis may take.
const MAX_CALL: Duration = Duration::from_millis(500);
/// Nothing takes so long but a call that waits for Redis itself.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn relay(redis: &str) -> (Setup, TestRelay) {
    let limits = format!("[limits]\nredis_timeout_ms = {}", MAX_CALL.as_millis());
    let setup = Setup::new().redis(redis).service(ServiceSetup::new("alpha")).toml(&limits);
    let relay = setup.start().await;
    (setup, relay)
}

async fn explicit_calls(relay: &TestRelay) -> Vec<Answer> {
    let bucket = json!({"rate": 1, "period_ms": 1000, "burst": 1});
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("GET", "/v1/cache/k", Value::Null),
        ("PUT", "/v1/cache/k", json!({"value": 1, "ttl_ms": 1000})),
        ("PUT", "/v1/cache/k", json!({"value": 1, "ttl_ms": 1000, "tags": ["t"]})),
        ("DELETE", "/v1/cache/k", Value::Null),
        ("POST", "/v1/rate-limits/k", bucket),
    ] {
        answers.push(timeout(FOR_EVER, relay.call("alpha", method, path, body)).await.expect(path));
    }
    answers
}

async fn all_are_unavailable(relay: &TestRelay) {
    for said in explicit_calls(relay).await {
        assert_eq!((said.status, said.code()), (503, "unavailable"), "{said:?}");
        assert_eq!(
            (said.body["fault"].as_str(), said.body["detail"].as_str()),
            (Some("dependency"), Some("Redis can't be reached"))
        );
        assert_eq!(said.header("retry-after"), "1");
    }
}

async fn is_back(relay: &TestRelay) {
    eventually("Redis is back", async || {
        let said = relay.call("alpha", "PUT", "/v1/cache/back", json!({"value": 1, "ttl_ms": 1000})).await;
        if said.status == 204 { Ok(()) } else { Err(said) }
    })
    .await;
}

/// A query goes on without its cache, and an invalidation doesn't hold up the answer to a commit.
async fn the_query_cache_steps_aside(relay: &TestRelay) {
    let alpha = relay.running.relay.services["alpha"].clone();
    let request = QueryRequest { sql: "SELECT 1".into(), ..QueryRequest::default() };
    let cache = QueryCache { ttl_ms: 1000, tags: vec!["t".into()] };
    assert!(matches!(alpha.cache.find_query(&request, &cache).await, Ok(Lookup::Off)));
    alpha.cache.invalidate(&["t".into()]).await;
}

#[tokio::test]
async fn a_relay_starts_and_answers_without_redis() {
    let (_setup, relay) = relay(&format!("redis://127.0.0.1:{}", free_port())).await;
    all_are_unavailable(&relay).await;
    timeout(FOR_EVER, the_query_cache_steps_aside(&relay)).await.expect("Redis is not awaited");
    assert!(relay.stop().await);
}

#[tokio::test]
async fn a_frozen_redis_holds_nobody_up() {
    let redis = RedisServer::start().await;
    let (_setup, relay) = relay(&redis.url).await;
    is_back(&relay).await;
    redis.freeze();
    all_are_unavailable(&relay).await;
    eventually("the relay knows", async || if relay.running.relay.redis.is_up() { Err(()) } else { Ok(()) }).await;
    all_are_unavailable(&relay).await;
    let aside = the_query_cache_steps_aside(&relay).now_or_never();
    aside.expect("once it is known to be away nobody waits");
    redis.thaw();
    is_back(&relay).await;
    assert!(relay.stop().await);
}

#[tokio::test]
async fn a_relay_stops_in_time_beside_a_frozen_redis() {
    let redis = RedisServer::start().await;
    let (_setup, relay) = relay(&redis.url).await;
    is_back(&relay).await;
    redis.freeze();
    assert!(relay.stop().await, "it needs no deadline");
}

#[tokio::test]
async fn a_redis_that_was_killed_is_found_again() {
    let mut redis = RedisServer::start().await;
    let (setup, one) = relay(&redis.url).await;
    let other = setup.start().await;
    is_back(&one).await;
    redis.kill();
    all_are_unavailable(&one).await;
    timeout(FOR_EVER, the_query_cache_steps_aside(&one)).await.expect("Redis is not awaited");
    redis.start_again().await;
    is_back(&one).await;
    is_back(&other).await;
    let waiter = other.running.relay.wakeups.register(Space::Service, "alpha", &["k"]);
    eventually("wake-ups cross again", async || {
        one.running.relay.wakeups.notify(Space::Service, &Arc::from("alpha"), &["k"]);
        timeout(Duration::from_millis(100), waiter.woken()).await
    })
    .await;
    assert!(one.stop().await && other.stop().await);
}

#[tokio::test]
async fn who_waits_is_woken_after_a_reconnect() {
    let mut redis = RedisServer::start().await;
    let (_setup, relay) = relay(&redis.url).await;
    is_back(&relay).await;
    let waiter = relay.running.relay.wakeups.register(Space::Service, "alpha", &["k"]);
    // The first subscription wakes everybody too.
    while timeout(Duration::from_millis(500), waiter.woken()).await.is_ok() {}
    redis.kill();
    redis.start_again().await;
    timeout(Duration::from_secs(20), waiter.woken()).await.expect("nobody knows what was missed meanwhile");
    relay.stop().await;
}

#[tokio::test]
async fn an_invalidation_that_came_while_redis_was_frozen_is_not_lost() {
    let redis = RedisServer::start().await;
    let (_setup, relay) = relay(&redis.url).await;
    is_back(&relay).await;
    let alpha = relay.running.relay.services["alpha"].clone();
    let request = QueryRequest { sql: "SELECT 1".into(), ..QueryRequest::default() };
    let cache = QueryCache { ttl_ms: 600_000, tags: vec!["t".into()] };
    let Ok(Lookup::Miss(fill)) = alpha.cache.find_query(&request, &cache).await else { panic!("nothing is cached") };
    fill.store(&alpha.cache, &QueryResponse::default()).await;
    assert!(matches!(alpha.cache.find_query(&request, &cache).await, Ok(Lookup::Hit(_))));
    redis.freeze();
    alpha.cache.invalidate(&["t".into()]).await;
    redis.thaw();
    eventually("the answer is gone", async || match alpha.cache.find_query(&request, &cache).await {
        Ok(Lookup::Miss(_)) => Ok(()),
        Ok(Lookup::Off) => Err("off"),
        Ok(Lookup::Hit(_)) => panic!("what was invalidated was found"),
        Err(failure) => panic!("{failure}"),
    })
    .await;
    assert!(relay.stop().await);
}
