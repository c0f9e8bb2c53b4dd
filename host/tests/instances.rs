//! How long instances live, and what it costs when one fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::time::{Duration, Instant};

use common::{Host, Setup};
use futures::future::join_all;
use serde_json::json;

async fn calls(host: &Host, requests: usize) -> Vec<u64> {
    let mut calls = Vec::new();
    for _ in 0..requests {
        calls.push(host.get("/calls").await.1["calls"].as_u64().unwrap());
    }
    calls
}

#[tokio::test]
async fn an_instance_takes_128_requests() {
    let host = Host::start().await;
    let expected: Vec<u64> = (1..=128).chain(1..=10).collect();
    assert_eq!(calls(&host, 138).await, expected);
}

#[tokio::test]
async fn reuse_can_be_switched_off() {
    let host = Setup::new().args(&["--max-instance-reuse-count", "1"]).start().await;
    assert_eq!(calls(&host, 5).await, [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn an_idle_instance_goes() {
    let host =
        Setup::new().args(&["--idle-instance-timeout", "20ms"]).env("RUST_LOG", "towpath_host=debug").start().await;
    assert_eq!(calls(&host, 1).await, [1]);
    host.logged(&["instance ended", "front"]).await;
    assert_eq!(calls(&host, 1).await, [1]);
}

#[tokio::test]
async fn requests_that_wait_share_an_instance_sixteen_at_most() {
    let host = Host::start().await;
    let mut waits = Vec::new();
    for begun in 1..=18 {
        let request = host.client.get(format!("{}/wait?ms=6000", host.url));
        waits.push(tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() }));
        host.waiting("front", begun).await;
    }
    let answers = join_all(waits).await.into_iter().map(|answer| answer.unwrap());
    let calls =
        answers.map(|answer| serde_json::from_str::<serde_json::Value>(&answer).unwrap()["calls"].as_u64().unwrap());
    assert_eq!(calls.collect::<Vec<_>>(), (1..=16).chain(1..=2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_trap_is_a_500_and_costs_one_instance() {
    let host = Host::start().await;
    assert_eq!(calls(&host, 3).await, [1, 2, 3]);
    let (status, problem) = host.get("/trap").await;
    assert_eq!((status, &problem["code"]), (500, &json!("component_failed")));
    host.logged(&["ERROR", "instance failed", "component=front", "wasm `unreachable` instruction executed"]).await;
    host.logged(&["asked to trap", "component=front"]).await;
    assert_eq!(calls(&host, 2).await, [1, 2], "a new instance, and the host goes on");
}

#[tokio::test]
async fn requests_beside_a_trap_in_other_instances_go_on() {
    let host = Setup::new().args(&["--max-instance-concurrent-reuse-count", "1"]).start().await;
    let (waits, traps) = tokio::join!(
        join_all((0..10).map(|_| host.get("/wait?ms=500"))),
        join_all((0..10).map(|_| host.get("/trap"))),
    );
    assert!(waits.iter().all(|(status, _)| *status == 200), "{waits:?}");
    assert!(traps.iter().all(|(status, _)| *status == 500), "{traps:?}");
    assert_eq!(host.get("/hello").await.0, 200);
}

#[tokio::test]
async fn an_error_code_from_a_component_is_a_500_and_costs_no_instance() {
    let host = Host::start().await;
    assert_eq!(calls(&host, 1).await, [1]);
    assert_eq!(host.get("/fail").await.0, 500);
    host.logged(&["request failed", "asked to fail"]).await;
    assert!(calls(&host, 3).await.iter().any(|calls| *calls > 2), "the instance goes on");
    assert!(!host.log().contains("instance failed"), "{}", host.log());
}

#[tokio::test]
async fn a_component_that_spins_ends_and_others_are_served_meanwhile() {
    let host = Setup::new().args(&["--busy-timeout", "700ms"]).start().await;
    let started = Instant::now();
    let others = async {
        let mut served = 0;
        while started.elapsed() < Duration::from_millis(600) {
            assert_eq!(host.get("/hello").await.0, 200);
            served += 1;
        }
        served
    };
    let (spins, served) = tokio::join!(join_all((0..8).map(|_| host.get("/spin"))), others);
    assert!(
        spins.iter().all(|(status, problem)| (*status, &problem["code"]) == (500, &json!("component_failed"))),
        "{spins:?}"
    );
    assert!(served > 0);
    host.logged(&["--busy-timeout", "front"]).await;
    assert_eq!(host.get("/hello").await.0, 200);
}

#[tokio::test]
async fn a_component_that_waits_is_not_busy() {
    let host = Setup::new().args(&["--busy-timeout", "200ms"]).start().await;
    assert_eq!(host.get("/wait?ms=1000").await.0, 200);
    assert_eq!(host.get("/stream?lines=50000").await.0, 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_504() {
    let host = Setup::new().args(&["--request-timeout", "3s"]).start().await;
    let (slow, quick) = tokio::join!(host.get("/wait?ms=60000"), host.get("/wait?ms=50"));
    assert_eq!((slow.0, &slow.1["code"]), (504, &json!("component_timeout")));
    assert_eq!(quick.0, 200);
    host.logged(&["--request-timeout", "front"]).await;
    assert_eq!(host.get("/hello").await.0, 200);
}

#[tokio::test]
async fn memory_beyond_the_limit_ends_the_instance() {
    let host = Setup::new().args(&["--max-instance-memory", "32MiB"]).start().await;
    assert_eq!(host.get("/allocate?mib=8").await, (200, json!({ "mib": 8 })));
    assert_eq!(host.get("/allocate?mib=8").await, (200, json!({ "mib": 16 })));
    assert_eq!(host.get("/allocate?mib=20").await.0, 500);
    host.logged(&["memory refused", "front", "33554432"]).await;
    assert_eq!(host.get("/allocate?mib=8").await, (200, json!({ "mib": 8 })), "a new instance begins anew");
}

#[tokio::test]
async fn no_instance_left_is_a_503() {
    let limits =
        ["--max-instances", "2", "--max-instance-concurrent-reuse-count", "1", "--idle-instance-timeout", "1ms"];
    let host = Setup::new().args(&limits).start().await;
    let answers = join_all((0..6).map(|_| host.get("/wait?ms=4000"))).await;
    let with = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((with(200), with(503)), (2, 4), "{answers:?}");
    host.logged(&["--max-instances"]).await;
}
