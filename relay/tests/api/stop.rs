//! A graceful stop, within one process.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use towpath_relay::Running;

use crate::support::{ServiceSetup, Setup, TestRelay, answer, eventually};

async fn relay(deadline_ms: u64) -> (Setup, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let mut config = setup.config("one");
    config.relay.shutdown_deadline = Duration::from_millis(deadline_ms);
    let relay = setup.start_with(config).await;
    (setup, relay)
}

const REST: &str = "\"value\": 1, \"ttl_ms\": 60000}";

/// A request whose body hasn't come but for its first byte.
async fn begin(setup: &Setup, running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let (token, length) = (setup.token("alpha"), REST.len() + 1);
    let head = format!(
        "PUT /v1/cache/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Until the relay works on a request.
async fn in_flight(running: &Running) {
    let alpha = &running.relay.services["alpha"];
    let most = alpha.limits().requests_in_flight;
    eventually(
        "the request is in flight",
        async || if alpha.requests.available_permits() < most { Ok(()) } else { Err(()) },
    )
    .await;
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_nothing_new_is_taken() {
    let (setup, relay) = relay(20_000).await;
    let mut stream = begin(&setup, &relay.running).await;
    in_flight(&relay.running).await;
    let (life, address, admin) =
        (relay.running.relay.lifecycle.clone(), relay.running.address, relay.admin_url.clone());
    let stopping = tokio::spawn(relay.stop());
    life.stop_taking.cancelled().await;
    eventually("nobody listens", async || match TcpStream::connect(address).await {
        Ok(_) => Err("somebody does"),
        Err(_) => Ok(()),
    })
    .await;
    let ready = answer(reqwest::Client::new().get(format!("{admin}/readyz"))).await;
    assert_eq!((ready.status, ready.body["status"].as_str()), (503, Some("stopping")));
    assert!(!stopping.is_finished());
    stream.write_all(REST.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 204 "), "{said}");
    assert!(stopping.await.unwrap(), "everything ended by itself");
}

#[tokio::test]
async fn connections_that_idle_are_closed_at_once() {
    let (_setup, relay) = relay(20_000).await;
    assert_eq!(relay.call("alpha", "GET", "/v1/cache/k", Value::Null).await.status, 404);
    let began = Instant::now();
    assert!(relay.stop().await);
    // Nobody waited until the deadline.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_does_not_end_is_given_up_at_the_deadline() {
    let (setup, relay) = relay(300).await;
    let mut stream = begin(&setup, &relay.running).await;
    in_flight(&relay.running).await;
    let began = Instant::now();
    assert!(!relay.stop().await);
    // Its own deadline, not the default of 10 s.
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "the connection is closed");
}

#[tokio::test]
async fn force_does_not_wait() {
    let (setup, relay) = relay(60_000).await;
    let _stream = begin(&setup, &relay.running).await;
    in_flight(&relay.running).await;
    let life = relay.running.relay.lifecycle.clone();
    let stopping = tokio::spawn(relay.stop());
    life.stop_taking.cancelled().await;
    life.forced.cancel();
    assert!(!stopping.await.unwrap());
}
