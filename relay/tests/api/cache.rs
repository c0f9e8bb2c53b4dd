//! The cache.

use serde_json::{Value, json};
use towpath_relay::redis::cache::Lookup;
use towpath_wire::{QueryCache, QueryRequest, QueryResponse};

use crate::support::{ServiceSetup, Setup, TestRelay, eventually};

async fn relay() -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).service(ServiceSetup::new("beta"));
    let relay = setup.start().await;
    (setup, relay)
}

async fn put(relay: &TestRelay, key: &str, value: Value, ttl_ms: u64, tags: &[&str]) {
    let entry = json!({"value": value, "ttl_ms": ttl_ms, "tags": tags});
    let said = relay.call("alpha", "PUT", &format!("/v1/cache/{key}"), entry).await;
    assert_eq!((said.status, said.body), (204, Value::Null));
}

/// The value; `None` where nothing is cached.
async fn get(relay: &TestRelay, key: &str) -> Option<Value> {
    let said = relay.call("alpha", "GET", &format!("/v1/cache/{key}"), Value::Null).await;
    match said.status {
        200 => Some(said.body["value"].clone()),
        404 if said.code() == "cache_miss" => None,
        _ => panic!("{said:?}"),
    }
}

#[tokio::test]
async fn a_value_comes_back_as_it_went_in() {
    let (_setup, relay) = relay().await;
    let value = json!({"text": "ä\u{0}\"", "null": null, "list": [1, [true]], "empty": {}});
    put(&relay, "k", value.clone(), 60_000, &[]).await;
    assert_eq!(get(&relay, "k").await, Some(value));
    put(&relay, "k", Value::Null, 60_000, &[]).await;
    assert_eq!(get(&relay, "k").await, Some(Value::Null), "null is a value");
    put(&relay, "a%2Fb%20%C3%A4", json!("odd"), 60_000, &[]).await;
    assert_eq!(get(&relay, "a%2Fb%20ä").await, Some(json!("odd")));
    assert_eq!(get(&relay, "a").await, None);
    assert_eq!(relay.call("alpha", "DELETE", "/v1/cache/k", Value::Null).await.status, 204);
    assert_eq!(relay.call("alpha", "DELETE", "/v1/cache/k", Value::Null).await.status, 204);
    assert_eq!(get(&relay, "k").await, None);
    relay.stop().await;
}

#[tokio::test]
async fn a_number_keeps_every_digit() {
    let (_setup, relay) = relay().await;
    let number = "123456789012345678901234567890.10";
    let body = format!("{{\"value\": [{number}, 1e400], \"ttl_ms\": 60000}}");
    assert_eq!(relay.request("alpha", "PUT", "/v1/cache/n").body(body).send().await.unwrap().status(), 204);
    let text = relay.request("alpha", "GET", "/v1/cache/n").send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with(&format!("{{\"value\":[{number}, 1e400]")), "as it came: {text}");
    relay.stop().await;
}

#[tokio::test]
async fn a_value_ends_with_its_time() {
    let (_setup, relay) = relay().await;
    put(&relay, "k", json!(1), 300, &[]).await;
    let said = relay.call("alpha", "GET", "/v1/cache/k", Value::Null).await;
    assert!((1..=300).contains(&said.body["ttl_ms"].as_u64().unwrap()), "{said:?}");
    eventually("the value is gone", async || get(&relay, "k").await.map_or(Ok(()), Err)).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_tag_ends_every_value_that_carries_it_and_no_other() {
    let (_setup, relay) = relay().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    put(&relay, "one", json!(1), 60_000, &["a"]).await;
    put(&relay, "both", json!(2), 60_000, &["a", "b"]).await;
    put(&relay, "other", json!(3), 60_000, &["b"]).await;
    put(&relay, "none", json!(4), 60_000, &[]).await;
    let beta = json!({"value": 5, "ttl_ms": 60_000, "tags": ["a"]});
    assert_eq!(relay.call("beta", "PUT", "/v1/cache/one", beta).await.status, 204);
    alpha.cache.invalidate(&["a".into(), "never-seen".into()]).await;
    assert_eq!(get(&relay, "one").await, None);
    assert_eq!(get(&relay, "both").await, None);
    assert_eq!(get(&relay, "other").await, Some(json!(3)));
    assert_eq!(get(&relay, "none").await, Some(json!(4)));
    let said = relay.call("beta", "GET", "/v1/cache/one", Value::Null).await;
    assert_eq!(said.body["value"], 5, "another service's tag is another tag");
    put(&relay, "one", json!(6), 60_000, &["a"]).await;
    assert_eq!(get(&relay, "one").await, Some(json!(6)), "what is put after an invalidation lives");
    relay.stop().await;
}

fn query(sql: &str, params: Vec<Value>) -> QueryRequest {
    QueryRequest { sql: sql.into(), params, ..QueryRequest::default() }
}

#[tokio::test]
async fn an_answer_that_was_read_before_an_invalidation_is_never_found_after_it() {
    let (_setup, relay) = relay().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    let (request, cache) = (query("SELECT 1", vec![]), QueryCache { ttl_ms: 60_000, tags: vec!["t".into()] });
    let stale = QueryResponse { columns: vec!["stale".into()], ..QueryResponse::default() };
    let fresh = QueryResponse { columns: vec!["fresh".into()], ..QueryResponse::default() };

    // A look-up, then a commit that invalidates, then the store of what was read before it.
    let Lookup::Miss(early) = alpha.cache.find_query(&request, &cache).await.unwrap() else {
        panic!("nothing is cached")
    };
    alpha.cache.invalidate(&cache.tags).await;
    early.store(&alpha.cache, &stale).await;
    let Lookup::Miss(late) = alpha.cache.find_query(&request, &cache).await.unwrap() else { panic!("a stale answer") };

    late.store(&alpha.cache, &fresh).await;
    let Lookup::Hit(found) = alpha.cache.find_query(&request, &cache).await.unwrap() else { panic!("it was stored") };
    assert_eq!(found, QueryResponse { cached: true, ..fresh });
    relay.stop().await;
}

#[tokio::test]
async fn queries_with_other_texts_or_parameters_have_other_answers() {
    let (_setup, relay) = relay().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    let cache = QueryCache { ttl_ms: 60_000, tags: vec![] };
    let stored = query("SELECT $1", vec![json!(1), json!("2")]);
    let Lookup::Miss(fill) = alpha.cache.find_query(&stored, &cache).await.unwrap() else {
        panic!("nothing is cached")
    };
    fill.store(&alpha.cache, &QueryResponse::default()).await;
    let replica = QueryRequest { consistency: towpath_wire::Consistency::Replica, ..stored.clone() };
    for other in [
        query("SELECT $1", vec![json!("1"), json!("2")]),
        query("SELECT $1", vec![json!(1), json!(2)]),
        query("SELECT $1", vec![json!(1)]),
        query("SELECT $2", vec![json!(1), json!("2")]),
        replica,
    ] {
        assert!(matches!(alpha.cache.find_query(&other, &cache).await.unwrap(), Lookup::Miss(_)), "{other:?}");
    }
    assert!(matches!(alpha.cache.find_query(&stored, &cache).await.unwrap(), Lookup::Hit(_)));
    relay.stop().await;
}

/// Between the announcement of a commit and the word that it is done, readers go to the database.
#[tokio::test]
async fn nothing_is_kept_that_a_unit_of_work_is_about_to_make_old() {
    let (_setup, relay) = relay().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    let (request, cache) =
        (query("SELECT 1", vec![]), QueryCache { ttl_ms: 60_000, tags: vec!["t".into(), "u".into()] });
    let (old, new) =
        (QueryResponse { columns: vec!["old".into()], ..QueryResponse::default() }, QueryResponse::default());
    let find = async || alpha.cache.find_query(&request, &cache).await.unwrap();
    put(&relay, "k", json!("old"), 60_000, &["u"]).await;
    let Lookup::Miss(early) = find().await else { panic!("nothing is cached") };
    let tags = vec!["u".to_owned()];
    let one = alpha.cache.announce(&tags, std::time::Duration::from_secs(60));
    let other = alpha.cache.announce(&tags, std::time::Duration::from_secs(60));
    one.made().await;
    other.made().await;
    early.store(&alpha.cache, &old).await;
    assert!(matches!(find().await, Lookup::Off), "nobody may keep what is read now");
    assert_eq!(get(&relay, "k").await, None);
    put(&relay, "k", json!("old"), 60_000, &["u"]).await;
    assert_eq!(get(&relay, "k").await, None, "nor under a key");
    one.committed().await;
    assert!(matches!(find().await, Lookup::Off), "the other isn't done");
    other.committed().await;
    let Lookup::Miss(fill) = find().await else { panic!("what was read before is found") };
    fill.store(&alpha.cache, &new).await;
    assert!(matches!(find().await, Lookup::Hit(found) if found.columns.is_empty()));
    relay.stop().await;
}

/// What a dead relay has announced ends by itself, and what was kept before it stays lost.
#[tokio::test]
async fn an_announcement_that_nobody_takes_back_ends_by_itself() {
    let (_setup, relay) = relay().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    let (request, cache) = (query("SELECT 1", vec![]), QueryCache { ttl_ms: 60_000, tags: vec!["t".into()] });
    let find = async || alpha.cache.find_query(&request, &cache).await.unwrap();
    let Lookup::Miss(fill) = find().await else { panic!("nothing is cached") };
    fill.store(&alpha.cache, &QueryResponse::default()).await;
    assert!(matches!(find().await, Lookup::Hit(_)));
    let (dead, living) = (alpha.cache.announce(&cache.tags, std::time::Duration::from_millis(500)), &alpha.cache);
    dead.made().await;
    let fill = eventually("it has ended", async || match find().await {
        Lookup::Miss(fill) => Ok(fill),
        Lookup::Off => Err("announced"),
        Lookup::Hit(_) => panic!("an old value"),
    })
    .await;
    fill.store(living, &QueryResponse::default()).await;
    assert!(matches!(find().await, Lookup::Hit(_)));
    // Others that come and go don't keep a dead one alive.
    let dead = living.announce(&cache.tags, std::time::Duration::from_millis(500));
    dead.made().await;
    eventually("it has ended", async || {
        let other = living.announce(&cache.tags, std::time::Duration::from_millis(500));
        other.made().await;
        other.withdrawn().await;
        if matches!(find().await, Lookup::Off) { Err("announced") } else { Ok(()) }
    })
    .await;
    relay.stop().await;
}
