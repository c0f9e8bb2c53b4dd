//! What a stranger can hold: connections, places, memory. Others are served all the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use common::frames::{DATA, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use common::raw::{connect, exchange, rest};
use common::{Host, PATIENCE, Setup, encode, eventually};
use serde_json::json;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;
/// `:status: 200`, from the static table.
const OK: u8 = 0x88;
/// The error code CANCEL.
const CANCEL: u32 = 8;

#[tokio::test]
async fn a_client_that_takes_nothing_keeps_nobody_out() {
    let limits = ["--max-in-flight", "2", "--target-latency", "0s", "--deliveries-prefix", "/named/"];
    let mut host = Setup::new().args(&limits).start().await;
    let deliveries = host.deliveries_url().await;
    let (public, own) = (host.address().to_owned(), deliveries.trim_start_matches("http://").to_owned());
    let mut held = Vec::new();
    for (address, path) in [(public, "/hello"), (own, "/named/1/2/hello")] {
        let mut client = Frames::connect(&address, &[(WINDOW, 0)]);
        for stream in (1..60).step_by(2) {
            client.request(stream, "GET", path, &[], END_STREAM);
            let head = client.next_of(HEADERS).expect("a response");
            assert_eq!((head.stream, head.payload[0]), (stream, OK), "{path}: it needs a place that others hold");
        }
        held.push(client);
    }
    assert_eq!(host.get("/hello").await.0, 200);
    assert_eq!(host.send(host.client.get(format!("{deliveries}/named/1/2/hello"))).await.0, 200);
}

#[tokio::test]
async fn a_stream_that_has_no_window_is_reset_and_its_connection_goes_on() {
    let host = Setup::new().args(&["--write-timeout", "300ms", "--max-in-flight", "1"]).start().await;
    for path in ["/hello", "/stream?lines=5000000"] {
        let mut client = Frames::connect(host.address(), &[(WINDOW, 0)]);
        client.request(1, "GET", path, &[], END_STREAM);
        let reset = client.next_of(RST_STREAM).expect("the stream is reset");
        assert_eq!((reset.stream, reset.code()), (1, CANCEL), "{path}");
        client.send(SETTINGS, 0, 0, &[&WINDOW.to_be_bytes()[..], &(1_u32 << 20).to_be_bytes()].concat());
        let served = (3..).step_by(2).find(|stream| {
            client.request(*stream, "GET", "/hello", &[], END_STREAM);
            let head = client.next_of(HEADERS).expect("a response");
            // The component takes a moment to notice that nobody reads its stream.
            head.payload[0] == OK
        });
        let data = client.next_of(DATA).expect("its body");
        assert_eq!((Some(data.stream), &data.payload[..]), (served, &b"Hello"[..]), "{path}");
    }
    host.logged(&["response cut off"]).await;
}

#[tokio::test]
async fn bodies_that_do_not_come_hold_no_place() {
    let host = Setup::new().args(&["--max-in-flight", "1"]).start().await;
    let mut held = Vec::new();
    for framing in [
        "content-length: 10\r\n\r\nx",
        "content-length: 100000\r\n\r\nx",
        "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n",
    ] {
        for _ in 0..10 {
            let mut stream = connect(host.address());
            stream.write_all(format!("POST /sum HTTP/1.1\r\nhost: a\r\n{framing}").as_bytes()).unwrap();
            held.push(stream);
        }
        assert_eq!(host.get("/hello").await.0, 200, "{framing}");
        let post = host.client.post(format!("{}/sum", host.url)).body(vec![1; 100_000]);
        assert_eq!(host.send(post).await, (200, json!({ "length": 100_000 })), "{framing}");
    }
}

#[tokio::test]
async fn a_large_body_has_a_place_only_once_its_first_part_is_there() {
    let host = Setup::new().args(&["--max-in-flight", "1"]).start().await;
    let mut large = connect(host.address());
    large.write_all(b"POST /sum HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3000000\r\n\r\n").unwrap();
    large.write_all(&[1; 1_000_000]).unwrap();
    assert_eq!(host.get("/hello").await.0, 200, "less than its first part came");
    large.write_all(&[1; 2_000_000]).unwrap();
    let answer = rest(&large);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("{\"length\":3000000}"), "{answer}");
}

/// Sends bodies of 60 KiB without their ends on many streams, within the windows that the host opens.
fn flood(address: &str, streams: u32) -> Frames {
    const BODY: usize = 60 << 10;
    let mut client = Frames::connect(address, &[]);
    let mut window = 65_535;
    for stream in (1..).step_by(2).take(streams as usize) {
        client.request(stream, "POST", "/sum", &[], 0);
        while window < BODY {
            let frame = client.next().expect("the host keeps the connection");
            if (frame.kind, frame.stream) == (WINDOW_UPDATE, 0) {
                window += u32::from_be_bytes(frame.payload[..].try_into().unwrap()) as usize;
            }
        }
        for piece in [1; BODY].chunks(16 << 10) {
            client.send(DATA, 0, stream, piece);
        }
        window -= BODY;
    }
    client
}

#[tokio::test]
async fn what_the_host_holds_for_clients_is_bounded() {
    let host = Setup::new().args(&["--max-held-bytes", "4MiB"]).start().await;
    assert_eq!(host.get("/hello").await.0, 200);
    let before = host.memory();
    let mut held = Vec::new();
    for _ in 0..15 {
        held.push(flood(host.address(), 100));
        let post = host.client.post(format!("{}/sum", host.url)).body(vec![1; 10_000]);
        assert_eq!(host.send(post).await, (200, json!({ "length": 10_000 })), "others are served");
    }
    // 88 MiB were sent.
    let most = host.memory().saturating_sub(before);
    assert!(most < 40 << 20, "{most} bytes more");
    let refused = held[0].next_of(HEADERS).expect("what is held longest is given up");
    assert_ne!(refused.payload[0], OK);
    drop(held);
    assert_eq!(host.get("/hello").await.0, 200);
    let begun = Instant::now();
    while host.memory() > before / 10 * 11 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let now = host.memory();
    assert!(now <= before / 10 * 11, "{now} of {most} bytes more than {before} stay");
}

#[tokio::test]
async fn idle_connections_end_however_lively_their_pings_are() {
    let host = Setup::new().args(&["--header-timeout", "500ms"]).start().await;
    let mut client = Frames::to(&host);
    client.request(1, "GET", "/hello", &[], END_STREAM);
    let goaway = loop {
        client.send(PING, 0, 0, &[7; 8]);
        let frame = client.next().expect("a word before the end");
        if frame.kind == GOAWAY {
            break frame;
        }
    };
    assert_eq!(goaway.code(), 0, "no error");
    while client.next().is_some() {
        client.send(PING, 0, 0, &[7; 8]);
    }
}

#[tokio::test]
async fn a_connection_that_is_idle_makes_room_for_a_new_one() {
    for limit in ["--max-connections", "--max-connections-per-address"] {
        let host = Setup::new().args(&[limit, "4"]).start().await;
        let mut held: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Frames::to(&host);
                assert!(client.next_of(SETTINGS).is_some(), "the host speaks HTTP/2 with it");
                client
            })
            .collect();
        assert_eq!(host.get("/hello").await.0, 200, "{limit}");
        assert!(held[0].next_of(GOAWAY).is_some() && held[0].next_of(GOAWAY).is_none(), "{limit}: the oldest ended");
    }
}

#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised() {
    let host = Setup::new().descriptors(64).start().await;
    // More than there are spare connections, too.
    let _held: Vec<_> = (0..600).map(|_| connect(host.address())).collect();
    assert_eq!(host.get("/hello").await.0, 200);
}

#[tokio::test]
async fn deliveries_have_a_listener_of_their_own() {
    let mut host = Setup::new().args(&["--deliveries-prefix", "/named/"]).start().await;
    let deliveries = host.deliveries_url().await;
    for path in ["/named/1/2/sum", "//named/1/2/sum", "/%6Eamed/1/2/sum", "/a/../named/1/2/sum", "/named", "/named/"] {
        // Not a byte of the body comes, and the answer comes all the same.
        let head = "HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n";
        let answer = exchange(host.address(), format!("POST {path} {head}"));
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no_route"), "{path}: {answer}");
    }
    let post = |path: &str| host.send(host.client.post(format!("{deliveries}{path}")).body("text"));
    assert_eq!(post("/named/1/2/sum").await, (200, json!({ "length": 4 })));
    for path in ["/sum", "/fixed", "/"] {
        assert_eq!(post(path).await.0, 404, "{path}: nothing else is there");
    }
}

/// The component decides by the head of a delivery: it is asked before a byte of the body is there.
#[tokio::test]
async fn a_delivery_is_refused_before_its_body_is_read() {
    let mut host = Setup::new().args(&["--deliveries-prefix", "/named/", "--max-in-flight", "2"]).start().await;
    let deliveries = host.deliveries_url().await;
    let address = deliveries.trim_start_matches("http://");
    for _ in 0..10 {
        // This component answers without reading.
        let head = "POST /named/1/2/hello HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nx";
        let mut stream = connect(address);
        stream.write_all(head.as_bytes()).unwrap();
        let answer = rest(&stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let post = host.client.post(format!("{deliveries}/named/1/2/sum")).body(vec![1; 100_000]);
    assert_eq!(host.send(post).await, (200, json!({ "length": 100_000 })));
}

/// An application behind one route for any path: what is below the prefix comes by the listener for deliveries alone.
#[tokio::test]
async fn a_route_for_any_path_takes_deliveries_on_their_listener_alone() {
    const ANY: &str = r#"
spin_manifest_version = 2
application = { name = "any" }
[[trigger.http]]
route = "/..."
component = "front"
[component.front]
source = "@GUEST@"
"#;
    let mut host = Setup::of(ANY).args(&["--max-in-flight", "1", "--target-latency", "0s"]).start().await;
    let deliveries = host.deliveries_url().await;
    for path in ["/_relay/sum", "//_relay/sum", "/%5Frelay/sum", "/_RELAY/sum", "/_relay"] {
        let answer = exchange(host.address(), format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("no_route"), "{path}: {answer}");
    }
    assert_eq!(host.get("/hello").await.0, 200, "all else is served to everybody");
    let waiting = tokio::spawn(host.client.get(format!("{}/wait?ms=60000", host.url)).send());
    host.waiting("front", 1).await;
    assert_eq!(host.get("/hello").await.0, 503, "the place of clients is taken");
    assert_eq!(host.send(host.client.get(format!("{deliveries}/_relay/hello"))).await.0, 200);
    waiting.abort();
    assert_eq!(host.send(host.client.get(format!("{deliveries}/hello"))).await.0, 404, "and nothing else there");
}

#[tokio::test]
async fn deliveries_are_not_for_web_pages() {
    let limits = ["--deliveries-prefix", "/named/", "--deliveries-hosts", "host.example,other.example"];
    let mut host = Setup::new().args(&limits).start().await;
    let deliveries = host.deliveries_url().await;
    let post = |name: &str, value: &str| {
        let post = host.client.post(format!("{deliveries}/named/1/2/sum")).body("text");
        host.send(post.header(name, value))
    };
    for known in ["localhost", "127.0.0.1:1", "[::1]", "192.0.2.7:3100", "host.example", "OTHER.example:80"] {
        assert_eq!(post("host", known).await, (200, json!({ "length": 4 })), "{known}");
    }
    for (name, value, status, code) in [
        ("host", "evil.example", 421, "misdirected_request"),
        ("host", "localhost.evil.example", 421, "misdirected_request"),
        ("origin", "https://evil.example", 403, "foreign_origin"),
        ("origin", "null", 403, "foreign_origin"),
    ] {
        let (answered, problem) = post(name, value).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_second_host_is_refused_everywhere() {
    let host = Host::start().await;
    for path in ["/hello", "/fixed", "/.well-known/spin/health", "/.well-known/spin/nothing"] {
        for hosts in ["host: a\r\nhost: b", "host: a\r\nHost: a", "host: a, b", "host: a\r\nx: y\r\nhost: "] {
            let request = format!("GET {path} HTTP/1.1\r\n{hosts}\r\nconnection: close\r\n\r\n");
            let answer = exchange(host.address(), request);
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("bad_host"), "{path} {hosts}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_log_line_steers_no_terminal() {
    for format in ["pretty", "json"] {
        let host = Setup::new().args(&["--log-format", format]).start().await;
        let text = "begin \u{9b}31m \u{202e}txt \u{2066} \u{200b} \u{2028} \u{7f} \u{1b}[2J end";
        let (status, _) = host.get(&format!("/print?out={}", encode(text))).await;
        assert_eq!(status, 200);
        let line = host.logged(&["begin", "end"]).await;
        for number in ["9b", "202e", "2066", "200b", "2028", "7f", "1b"] {
            assert!(line.contains(number), "{number}: {line}");
        }
        let unseen = ['\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}', '\u{7f}', '\u{1b}'];
        assert!(!line.contains(unseen), "{line:?}");
    }
}

#[tokio::test]
async fn requests_that_wait_have_places_of_their_own() {
    // No admission: it admits no more than --max-in-flight.
    let limits = ["--max-waits", "2", "--max-in-flight", "1", "--target-latency", "0s", "--request-timeout", "1h"];
    let host = Setup::new().args(&limits).start().await;
    let asked_to_wait = async || {
        let request = host.client.get(format!("{}/echo", host.url)).header("prefer", "respond-async, wait=5");
        let (status, echo) = host.send(request).await;
        assert_eq!(status, 200, "{echo}");
        echo["headers"]["prefer"] == json!("respond-async, wait=5")
    };
    assert!(asked_to_wait().await);
    let waits: Vec<_> = (1..=2)
        .map(|_| {
            let url = encode("http://back.spin.internal/wait?ms=3000000");
            let request = host.client.get(format!("{}/fetch?url={url}", host.url)).header("prefer", "wait=5");
            tokio::spawn(request.send())
        })
        .collect();
    host.waiting("back", 2).await;
    assert_eq!(host.get("/hello").await.0, 200, "who waits takes no other place");
    assert!(!asked_to_wait().await, "where the places are taken, nobody waits");
    waits.iter().for_each(tokio::task::JoinHandle::abort);
    let free = async { while !asked_to_wait().await {} };
    tokio::time::timeout(PATIENCE, free).await.expect("who leaves gives its place back");
}

#[tokio::test]
async fn wait_0_is_no_wait() {
    let limits = ["--target-latency", "20ms", "--max-in-flight", "400", "--max-waits", "1"];
    let host = Setup::new().args(&limits).start().await;
    let lowered = async {
        loop {
            let requests = (0..96).map(|_| {
                let request = host.client.get(format!("{}/slow/wait?ms=200", host.url)).header("prefer", "wait=0");
                host.send(request)
            });
            let answers = futures::future::join_all(requests).await;
            if answers.iter().filter(|(status, _)| *status == 503).count() >= 40 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, lowered).await.expect("fewer are let in");
}

#[tokio::test]
async fn health_has_places_that_nobody_can_take() {
    let host = Setup::new().args(&["--max-in-flight", "1", "--health-path", "/healthy/hello"]).start().await;
    let waiting = host.client.get(format!("{}/wait?ms=30000", host.url)).send();
    let waiting = tokio::spawn(waiting);
    host.waiting("front", 1).await;
    assert_eq!(host.get("/hello").await.0, 503);
    assert_eq!(host.get("/healthy/hello").await.0, 200);
    waiting.abort();
}

#[tokio::test]
async fn who_closes_its_side_after_the_request_gets_the_answer() {
    let host = Host::start().await;
    let post = "POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ntext";
    let wait = "GET /wait?ms=300 HTTP/1.1\r\nhost: a\r\nprefer: wait=5\r\n\r\n";
    for request in ["GET /hello HTTP/1.1\r\nhost: a\r\n\r\n", "GET /hello HTTP/1.0\r\n\r\n", post, wait] {
        let stream = connect(host.address());
        (&stream).write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&stream);
        assert!(answer.starts_with("HTTP/1.") && answer[8..].starts_with(" 200"), "{request}: {answer}");
    }
    let stream = connect(host.address());
    (&stream).write_all(b"POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\n\r\ntext").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest(&stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "half a request: {answer}");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_logged() {
    let host = Host::start().await;
    assert_eq!(host.get("/sized?bytes=5&length=5").await, (200, json!("xxxxx")));
    let (status, problem) = host.get("/sized?bytes=5&length=6").await;
    assert_eq!((status, &problem["code"]), (500, &json!("component_failed")));
    let line = "response failed: the component's body is not as long as its content-length says";
    host.logged(&[line]).await;
    // A large one is not waited for: the connection ends in the middle of it, or before.
    let long = host.client.get(format!("{}/sized?bytes=5&length=6000000", host.url)).send();
    assert!(async { long.await?.bytes().await }.await.is_err());
    let twice = || (host.log().matches(line).count() == 2).then_some(());
    eventually(twice).await.expect("a line for each");
    let head = host.client.head(format!("{}/sized?bytes=5&length=6", host.url)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"6".parse().unwrap()));
}

#[tokio::test]
async fn many_that_read_nothing_do_not_hold_the_end_up() {
    let host = Setup::new().args(&["--drain-timeout", "500ms"]).start().await;
    let mut client = Frames::connect(host.address(), &[(WINDOW, 0)]);
    client.request(1, "GET", "/hello", &[], END_STREAM);
    assert!(client.next_of(HEADERS).is_some());
    host.signal(rustix::process::Signal::TERM);
    let ended = tokio::time::timeout(PATIENCE, host.exit()).await.expect("the host ends");
    assert_eq!(ended.0, 2, "it cuts off what is not taken: {}", ended.1);
}
