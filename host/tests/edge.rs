//! Clients that are many, greedy or slow, and the end of the host.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::raw::{connect, exchange};
use common::{Host, Setup, eventually};
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;

#[tokio::test]
async fn beyond_the_limit_a_route_answers_503_at_once_and_others_go_on() {
    let host = Setup::new().args(&["--max-in-flight", "3"]).start().await;
    let answers = async {
        let requests = (0..8).map(|_| host.client.get(format!("{}/wait?ms=4000", host.url)).send());
        join_all(requests).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (answers, other) = tokio::join!(answers, host.get("/named/1/2/hello"));
    assert_eq!(other, (200, json!("Hello")), "the other route has places of its own");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 503).collect();
    assert_eq!((answers.len(), refused.len()), (8, 5));
    assert!(refused.iter().all(|answer| answer.headers()["retry-after"] == "1"));
    drop(answers);
    assert_eq!(host.get("/hello").await.0, 200, "places are free again");
}

#[tokio::test]
async fn a_place_is_taken_until_the_component_is_done_though_the_client_is_gone() {
    let host = Setup::new().args(&["--max-in-flight", "1"]).start().await;
    let started = Instant::now();
    let impatient = tokio::spawn(host.client.get(format!("{}/wait?ms=4000", host.url)).send());
    host.waiting("front", 1).await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    assert_eq!(host.get("/hello").await.0, 503);
    while host.get("/hello").await.0 == 503 {}
    assert!(started.elapsed() >= Duration::from_millis(4000), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_a_413_whether_it_says_so_or_not() {
    let host = Setup::new().args(&["--max-body-bytes", "64KiB"]).start().await;
    let post = |length: usize| host.client.post(format!("{}/sum", host.url)).body(vec![1; length]);
    assert_eq!(host.send(post(64 << 10)).await, (200, json!({ "length": 65536 })));
    let (status, problem) = host.send(post((64 << 10) + 1)).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
    let streamed = |pieces: usize| {
        let pieces = futures::stream::iter((0..pieces).map(|_| Ok::<_, std::io::Error>(vec![1_u8; 8 << 10])));
        host.client.post(format!("{}/sum", host.url)).body(reqwest::Body::wrap_stream(pieces))
    };
    assert_eq!(host.send(streamed(8)).await, (200, json!({ "length": 65536 })));
    let (status, problem) = host.send(streamed(9)).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let host = Setup::new().args(&["--max-header-bytes", "16KiB", "--max-headers", "20"]).start().await;
    let with = |count: usize, length: usize| {
        let fields: String = (0..count).map(|n| format!("x-{n}: {}\r\n", "v".repeat(length))).collect();
        exchange(host.address(), format!("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n"))
    };
    assert!(with(10, 1000).starts_with("HTTP/1.1 200"));
    for (what, answer) in [("too many", with(30, 10)), ("too long", with(10, 2000))] {
        assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("headers_too_large"), "{what}: {answer}");
    }
    // Far beyond it hyper hangs up without a word of ours.
    assert!(with(100, 10).starts_with("HTTP/1.1 431"), "far too many");
    assert!(with(10, 20_000).starts_with("HTTP/1.1 431"), "far too long");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_408_and_keeps_nobody_out() {
    let host = Setup::new().args(&["--body-timeout", "300ms", "--max-in-flight", "1"]).start().await;
    let begin = "POST /sum HTTP/1.1\r\nhost: a\r\n";
    let held = connect(host.address());
    (&held).write_all(format!("{begin}content-length: 100\r\n\r\nx").as_bytes()).unwrap();
    assert_eq!(host.get("/hello").await.0, 200, "a body that is being sent takes no place");
    let (declared, chunked) = ("content-length: 100\r\n\r\nx", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    for framing in [declared, chunked] {
        let answer = exchange(host.address(), format!("{begin}{framing}"));
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"body_timeout\""), "{framing:?}: {answer}");
    }
    assert_eq!(host.get("/hello").await.0, 200);
}

/// Longer than any buffer between the host and a client that reads nothing.
const LONG: &str = "/stream?lines=5000000";

#[tokio::test]
async fn who_does_not_read_an_answer_loses_it() {
    for limit in ["--write-timeout", "--answer-timeout"] {
        let host = Setup::new().args(&[limit, "300ms", "--max-in-flight", "1"]).start().await;
        let mut unread = connect(host.address());
        unread.write_all(format!("GET {LONG} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
        unread.read_exact(&mut [0; 12]).unwrap();
        let free = eventually_served(&host).await;
        assert!(free, "{limit}: its place is free again");
        let mut rest = Vec::new();
        let _ = unread.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "{limit}: it was cut off");
    }
}

#[tokio::test]
async fn a_stream_of_http_2_that_nobody_reads_loses_its_answer() {
    let host = Setup::new().args(&["--answer-timeout", "300ms", "--max-in-flight", "1"]).start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let unread = client.get(format!("{}{LONG}", host.url)).send().await.unwrap();
    assert_eq!(unread.status(), 200);
    assert!(eventually_served(&host).await, "its place is free again");
    assert!(unread.bytes().await.is_err(), "it was cut off");
}

async fn eventually_served(host: &Host) -> bool {
    let asking = async { while host.get("/hello").await.0 != 200 {} };
    tokio::time::timeout(common::PATIENCE, asking).await.is_ok()
}

#[tokio::test]
async fn where_answers_take_too_long_fewer_are_let_in() {
    let limits = ["--target-latency", "20ms", "--deliveries-prefix", "/named/"];
    let mut host = Setup::new().args(&limits).start().await;
    let deliveries = host.deliveries_url().await;
    let slow = |path: &'static str, count: usize| {
        let host = &host;
        async move { join_all((0..count).map(|_| host.get(path))).await }
    };
    let refused = |answers: &[(u16, serde_json::Value)]| answers.iter().filter(|(status, _)| *status == 503).count();
    // The median of what is let in at first lowers the limit, down to the least: 48.
    let lowered = async {
        loop {
            let answers = slow("/slow/wait?ms=200", 96).await;
            if refused(&answers) >= 40 {
                break answers;
            }
        }
    };
    let answers = tokio::time::timeout(common::PATIENCE, lowered).await.expect("fewer are let in");
    let problem = &answers.iter().find(|(status, _)| *status == 503).unwrap().1;
    assert_eq!(problem["code"], "overloaded");
    let steady = (0..96).map(|_| host.send(host.client.get(format!("{deliveries}/named/1/2/wait?ms=200"))));
    assert_eq!(refused(&join_all(steady).await), 0, "callers that bound themselves are never refused for being slow");
    let waits = (0..96).map(|_| {
        let request = host.client.get(format!("{}/patient/wait?ms=200", host.url));
        host.send(request.header("prefer", "wait=5"))
    });
    let waits = join_all(waits).await;
    let waits_again = host.client.get(format!("{}/patient/wait?ms=200", host.url)).header("prefer", "wait=5");
    assert_eq!((refused(&waits), host.send(waits_again).await.0), (0, 200), "waiting is no sign of overload");
}

#[tokio::test]
async fn slow_clients_are_hung_up_on() {
    let host = Setup::new().args(&["--header-timeout", "300ms"]).start().await;
    for begin in ["", "P", "GET /hello HTTP/1.1\r\nhost: a\r\nx-slow: ", "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let started = Instant::now();
        let answer = exchange(host.address(), begin);
        assert!(started.elapsed() < Duration::from_secs(10), "{begin:?} after {:?}", started.elapsed());
        assert_eq!(answer.starts_with("HTTP/1.1 200"), begin.ends_with("\r\n\r\n"), "{begin:?}: {answer}");
    }
    assert_eq!(host.get("/wait?ms=1000").await.0, 200, "a slow answer is another matter");
}

#[tokio::test]
async fn who_finds_every_connection_taken_hears_so_and_deliveries_are_served() {
    let limits = ["--max-connections", "2", "--deliveries-prefix", "/fixed", "--health-path", "/healthy/hello"];
    let mut host = Setup::new().args(&limits).start().await;
    let deliveries = host.deliveries_url().await;
    let held: Vec<_> = (0..2).map(|_| connect(host.address())).collect();
    for mut stream in held.iter() {
        stream.write_all(b"GET /wait?ms=30000 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    }
    host.waiting("front", 2).await;
    // It reads to the end: the connection is closed.
    let refused = exchange(host.address(), "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1") && refused.contains("\"overloaded\""), "{refused}");
    assert_eq!(exchange(host.address(), ""), "", "who says nothing is hung up on");
    assert_eq!(host.client.get(format!("{deliveries}/fixed")).send().await.unwrap().status(), 418);
    let hello = "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for health in ["/.well-known/spin/health", "/healthy/hello"] {
        assert!(exchange(host.address(), hello.replace("/hello", health)).starts_with("HTTP/1.1 200"), "{health}");
    }
    drop(held);
    let served = common::eventually(|| exchange(host.address(), hello).starts_with("HTTP/1.1 200").then_some(())).await;
    served.expect("a place that is free again is given away");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_before_the_end() {
    let host = Host::start().await;
    let idle = connect(host.address());
    let url = host.url.clone();
    let request = |path: &str| {
        let request = host.client.get(format!("{url}{path}"));
        tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
    };
    let (waiting, chained) =
        (request("/wait?ms=1500"), request("/fetch?url=http%3A%2F%2Fback.spin.internal%2Fwait%3Fms%3D1500"));
    host.waiting("front", 1).await;
    host.waiting("back", 1).await;
    host.signal(Signal::TERM);
    host.logged(&["stopping"]).await;
    let refused = eventually(|| TcpStream::connect(url.trim_start_matches("http://")).err());
    assert!(refused.await.is_some(), "nobody new is taken");
    assert!(waiting.await.unwrap().contains("1500"));
    assert!(chained.await.unwrap().contains("1500"));
    let (status, log) = host.exit().await;
    assert_eq!(status, 0, "{log}");
    drop(idle);
}

#[tokio::test]
async fn the_end_does_not_wait_longer_than_it_may() {
    for (arguments, second_signal) in [(["--drain-timeout", "300ms"], false), (["--drain-timeout", "1h"], true)] {
        let host = Setup::new().args(&arguments).start().await;
        let request = host.client.get(format!("{}/wait?ms=50000", host.url));
        let waiting = tokio::spawn(async move { request.send().await.is_err() });
        host.waiting("front", 1).await;
        host.signal(Signal::INT);
        host.logged(&["stopping"]).await;
        if second_signal {
            host.signal(Signal::TERM);
        }
        let (status, log) = host.exit().await;
        assert_eq!(status, 2, "{log}");
        assert!(log.contains("cutting off the requests in flight"), "{log}");
        assert!(waiting.await.unwrap(), "it was cut off");
    }
}
