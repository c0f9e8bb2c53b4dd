//! Health and metrics.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towpath_fault_proxy::{Fate, Kafka, Proxy, Tcp};

use crate::support::{Answer, Servers, ServiceSetup, Setup, TestRelay, answer, eventually, free_port};

/// Nothing takes so long but what never comes.
const FOR_EVER: Duration = Duration::from_secs(60);

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

/// The connections stand, new ones are taken, and nothing comes through any more: no answer, and no end.
#[tokio::test]
async fn a_frozen_line_is_named_within_seconds_and_heals() {
    let servers = Servers::from_env();
    let [postgres, redis] = [(&servers.postgres, 5432), (&servers.redis, 6379)]
        .map(|(url, port)| Url::parse(url).unwrap().socket_addrs(|| Some(port)).unwrap()[0].to_string());
    let postgres = Proxy::<Tcp>::before(&postgres).await.unwrap();
    let redis = Proxy::<Tcp>::before(&redis).await.unwrap();
    let kafka = Proxy::<Kafka>::before(&servers.kafka).await.unwrap();
    let mut setup = Setup::new()
        .redis(&redis.instead_of(&servers.redis))
        .kafka(&kafka.address())
        .service(ServiceSetup::new("alpha").database().publishes("things"))
        .declare("things");
    setup.servers.postgres = postgres.instead_of(&servers.postgres);
    let mut setup = setup.databases().await;
    let relay = setup.start().await;
    let is_ready = async || {
        eventually("the relay is ready", async || {
            let said = relay.readiness().await;
            if said["status"] == "ready" { Ok(()) } else { Err(said) }
        })
        .await;
    };
    let unit = json!({"events": [{"topic": setup.topic("things"), "key": "k", "type": "thing.happened"}]});
    is_ready().await;
    assert_eq!(relay.transaction("alpha", unit.clone()).await.status, 200);
    for name in ["postgres.alpha", "redis", "kafka"] {
        match name {
            "redis" => redis.rule(|_| Fate::Ignored),
            "kafka" => kafka.rule(|_| Fate::Ignored),
            _ => postgres.rule(|_| Fate::Ignored),
        }
        eventually(name, async || {
            let said = relay.readiness().await;
            let seen = &said["dependencies"][name];
            if seen["up"] == false && seen["detail"].is_string() { Ok(()) } else { Err(said) }
        })
        .await;
        postgres.pass();
        redis.pass();
        kafka.pass();
        is_ready().await;
        // Connections of before are frozen for good; none of them stays in use.
        for _ in 0..4 {
            assert_eq!(relay.transaction("alpha", unit.clone()).await.status, 200, "{name}");
        }
    }
    relay.stop().await;
    // What removes the databases blocks this thread, and the proxy with it.
    setup.servers.postgres = servers.postgres;
}

/// Whoever asks costs no more than one who asks: a probe takes no connection of a pool and makes none of its own.
#[tokio::test]
async fn many_probes_at_once_take_no_connection() {
    let setup = Setup::new().service(ServiceSetup::new("alpha").database()).databases().await;
    // One connection for units of work: a probe that took it would show.
    let mut config = setup.config("probed");
    let alpha = config.services.get_mut("alpha").unwrap();
    alpha.postgres.as_mut().unwrap().pool_size = 1;
    alpha.limits.pool_wait_ms = 60_000;
    let relay = setup.start_with(config).await;
    let watcher = setup.server().await;
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'client backend'",
        setup.database_name("alpha")
    );
    let probe = async |path: &'static str| admin(&relay, path).await;
    let unit = json!({"steps": [{"sql": "SELECT 1"}]});
    for _ in 0..3 {
        // Fewer than `admin_connections`: beyond them the oldest connection is closed, with its probe.
        let probes = ["/readyz", "/metrics", "/healthz"].into_iter().cycle().take(3 * 64);
        let (probes, worked) = tokio::join!(
            join_all(probes.map(probe)),
            join_all((0..20).map(|_| relay.transaction("alpha", unit.clone())))
        );
        for said in probes {
            assert!(matches!(said.status, 200 | 503), "{said:?}");
            assert!(said.body["status"] != "unready", "{said:?}");
        }
        assert!(worked.iter().all(|said| said.status == 200), "{worked:?}");
        let connections: i64 = watcher.query_one(&count, &[]).await.unwrap().get(0);
        // One of the pool for units of work, up to six of the relay's own, and one that looks for each role.
        assert!(connections <= 9, "{connections}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn who_holds_every_connection_of_the_admin_port_keeps_no_probe_out() {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).toml("[limits]\nadmin_connections = 8");
    let relay = setup.start().await;
    let mut held = Vec::new();
    for n in 0..40 {
        let mut slow = TcpStream::connect(relay.running.admin_address).await.unwrap();
        slow.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
        held.push(slow);
        if n % 10 == 9 {
            let said = tokio::time::timeout(FOR_EVER, admin(&relay, "/healthz")).await.expect("an answer");
            assert_eq!(said.status, 200);
        }
    }
    // The oldest gave way.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(FOR_EVER, held[0].read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "{rest:?}");
    relay.stop().await;
}
