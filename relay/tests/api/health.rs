//! Health and metrics.

use serde_json::Value;

use crate::support::{Answer, ServiceSetup, Setup, TestRelay, answer, eventually, free_port};

async fn admin(relay: &TestRelay, path: &str) -> Answer {
    answer(relay.http.get(format!("{}{path}", relay.admin_url))).await
}

#[tokio::test]
async fn readiness_names_each_dependency() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    let relay = setup.start().await;
    assert_eq!(admin(&relay, "/healthz").await.status, 200);
    let ready = eventually("the relay is ready", async || {
        let said = admin(&relay, "/readyz").await;
        if said.body["status"] == "ready" { Ok(said) } else { Err(said) }
    })
    .await;
    assert_eq!(ready.status, 200);
    for dependency in ["postgres.alpha", "redis", "kafka"] {
        assert_eq!(ready.body["dependencies"][dependency]["up"], true, "{ready:?}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_without_redis_and_kafka_is_degraded_but_ready() {
    let away = format!("127.0.0.1:{}", free_port());
    let setup =
        Setup::new().redis(&format!("redis://{away}")).kafka(&away).service(ServiceSetup::new("alpha").database());
    let setup = setup.databases().await;
    let relay = setup.start().await;
    let said = admin(&relay, "/readyz").await;
    assert_eq!((said.status, said.body["status"].as_str()), (200, Some("degraded")), "{said:?}");
    assert_eq!(said.body["dependencies"]["postgres.alpha"]["up"], true, "{said:?}");
    for dependency in ["redis", "kafka"] {
        assert_eq!(said.body["dependencies"][dependency]["up"], false, "{said:?}");
        assert!(said.body["dependencies"][dependency]["detail"].is_string(), "{said:?}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_that_reaches_no_database_is_not_ready() {
    // Nobody created this one.
    let setup = Setup::new().service(ServiceSetup::new("alpha").database());
    let relay = setup.start().await;
    let said = admin(&relay, "/readyz").await;
    assert_eq!((said.status, said.body["status"].as_str()), (503, Some("unready")), "{said:?}");
    assert_eq!(admin(&relay, "/healthz").await.status, 200, "it lives all the same");
    relay.stop().await;
}

#[tokio::test]
async fn metrics_are_described_and_labelled() {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    relay.call("alpha", "GET", "/v1/cache/k", Value::Null).await;
    let said = admin(&relay, "/metrics").await;
    assert_eq!(said.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = said.body.as_str().unwrap();
    for part in [
        "# HELP towpath_relay_requests_total Answered requests",
        "# TYPE towpath_relay_request_duration_seconds histogram",
        "towpath_relay_requests_total{service=\"alpha\",call=\"cache_get\",code=\"",
        "towpath_relay_redis_up ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains(&setup.token("alpha")));
    relay.stop().await;
}
