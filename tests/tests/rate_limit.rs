//! The edge's rate limit, as a client meets it. The stack is this binary's own: the limit of the others is out of reach.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use towpath_tests::{OwnStack, assert_refused, eventually};

/// Requests a second. The stack's own seed stays below it or waits.
const RATE_LIMIT: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests whose bodies come byte by byte, until they are dropped.
async fn slow_bodies(url: &str, count: usize) -> JoinSet<()> {
    let mut slow = JoinSet::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("the edge listens");
        let head = "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let head = format!("{head}idempotency-key: slow\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the edge takes it");
        slow.spawn(async move {
            while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    slow
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let own = OwnStack::start(&[("SPIN_VARIABLE_RATE_LIMIT", &RATE_LIMIT.to_string())]);
    let api = own.stack.api();
    let refused = eventually("one of many at once is refused", PATIENCE, || async {
        // An address that the client itself names is none of its own.
        let forged = |client| format!("198.51.100.{client}:1");
        let request = |client| api.get("/v1/products").header("spin-client-addr", &forged(client)).send();
        let answers = join_all((0..4 * RATE_LIMIT).map(request)).await;
        let mut answers = answers.into_iter().map(|answer| answer.expect("an answer"));
        answers.find(|answer| answer.status() != 200).ok_or("all of them passed")
    })
    .await;
    let _ = assert_refused(&refused, 429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After");
    assert!((1..=5).contains(&seconds), "{seconds} s for a limit that is refilled every second");

    // Sixteen at once, while others send their bodies byte by byte, which neither take the limit away nor pass it.
    let slow = slow_bodies(&own.stack.url, 30).await;
    let begun = Instant::now();
    let one = async || {
        let mut served = 0;
        for _ in 0..40 {
            served += usize::from(api.get("/v1/products").send().await.expect("an answer").status() == 200);
        }
        served
    };
    let served: usize = join_all((0..16).map(|_| one())).await.into_iter().sum();
    // What the bucket held, and what flowed in; the second time of it in an instance that heard nothing of the relay.
    let most = 2.0 * RATE_LIMIT as f64 * (1.0 + begun.elapsed().as_secs_f64());
    assert!((served as f64) < most, "{served} of 640 were served in {:?}", begun.elapsed());
    drop(slow);

    eventually("who comes back passes", PATIENCE, || async {
        match api.get("/v1/products").send().await.expect("an answer").status() {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}
