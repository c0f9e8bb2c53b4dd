//! What a component sees of a request, and what comes back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::io::{Read, Write};

use common::{Host, Setup};
use serde_json::{Value, json};

#[tokio::test]
async fn a_request_arrives_whole_with_spins_headers() {
    let host = Host::start().await;
    let request = host
        .client
        .post(format!("{}/a/echo?b=c", host.url))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "k=v")
        .header("connection", "keep-alive")
        .body("some text");
    let (status, echo) = host.send(request).await;
    assert_eq!(status, 200);
    assert_eq!((&echo["method"], &echo["body"]), (&json!("POST"), &json!("some text")));
    assert_eq!(echo["uri"], format!("{}/a/echo?b=c", host.url));
    let headers = &echo["headers"];
    for (name, expected) in [
        ("spin-path-info", "/a/echo"),
        ("spin-full-url", &format!("{}/a/echo?b=c", host.url)),
        ("spin-matched-route", "/..."),
        ("spin-base-path", "/"),
        ("spin-raw-component-route", "/..."),
        ("spin-component-route", ""),
        ("host", host.address()),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "k=v"),
        ("content-length", "9"),
    ] {
        assert_eq!(headers[name], expected, "{name}");
    }
    assert!(headers["spin-client-addr"].as_str().unwrap().starts_with("127.0.0.1:"), "{headers}");
    assert_eq!(headers["connection"], Value::Null);
}

#[tokio::test]
async fn named_segments_and_the_rest_have_headers() {
    let host = Host::start().await;
    let (_, echo) = host.get("/named/7/x%20y/more/echo").await;
    let headers = &echo["headers"];
    assert_eq!(headers["spin-path-match-id"], "7");
    assert_eq!(headers["spin-path-match-second-part"], "x%20y");
    assert_eq!(headers["spin-path-info"], "/more/echo");
    assert_eq!(headers["spin-matched-route"], "/named/:id/:Second_Part/...");
    assert_eq!(headers["spin-component-route"], "/named/:id/:Second_Part");
}

#[tokio::test]
async fn forged_headers_do_not_reach_a_component() {
    let host = Host::start().await;
    let mut request = host.client.get(format!("{}/echo", host.url));
    for name in ["spin-client-addr", "spin-path-match-admin", "Spin-Full-Url", "spin-internal-thing"] {
        request = request.header(name, "forged");
    }
    let (_, echo) = host.send(request).await;
    assert!(!echo.to_string().contains("forged"), "{echo}");
    assert!(echo["headers"]["spin-client-addr"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn routes_lead_where_spin_would_lead() {
    let host = Host::start().await;
    let response = host.client.get(format!("{}/fixed", host.url)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-kind"]), (418, &"fixed".parse().unwrap()));
    assert_eq!(response.text().await.unwrap(), "always the same");
    assert_eq!(host.get("/fixed/echo").await.1["headers"]["spin-matched-route"], "/fixed/echo");
    assert_eq!(host.get("/fixed/other/echo").await.1["headers"]["spin-matched-route"], "/...");
    assert_eq!(host.get("/").await.0, 404, "the component's own answer");
}

#[tokio::test]
async fn a_private_component_and_an_absent_path_are_404_from_outside() {
    let manifest = common::APPLICATION.replacen("route = \"/...\"", "route = \"/public/...\"", 1);
    let host = Setup::of(&manifest).env("SPIN_VARIABLE_TOKEN", "t").start().await;
    for path in ["/", "/secluded", "/secluded/hello", "/publicly", "/.well-known/spin/other"] {
        let (status, problem) = host.get(path).await;
        assert_eq!((status, &problem["code"]), (404, &json!("no_route")), "{path}");
    }
    let by_name = host.client.get(format!("{}/hello", host.url)).header("host", "secluded.spin.internal");
    assert_eq!(host.send(by_name).await.0, 404, "a host name from outside names no component");
    assert_eq!(host.get("/public/hello").await, (200, json!("Hello")));
}

#[tokio::test]
async fn the_host_answers_for_itself() {
    let host = Host::start().await;
    assert_eq!(host.get("/.well-known/spin/health").await, (200, json!("OK")));
    assert_eq!(host.get("/.well-known/spin/info").await, (200, json!({ "name": "host-test", "version": "1.2.3" })));
    let post = host.client.post(format!("{}/.well-known/spin/health", host.url)).send().await.unwrap();
    assert_eq!((post.status().as_u16(), &post.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
}

#[tokio::test]
async fn a_component_has_its_own_variables_and_environment() {
    let host = Host::start().await;
    assert_eq!(host.get("/variable?name=welcome").await.1, json!({ "value": "hello, s3cret" }));
    assert_eq!(host.get("/variable?name=greeting").await.1, json!({ "error": "Error::Undefined(\"greeting\")" }));
    assert_eq!(host.get("/variable?name=No-Name").await.1, json!({ "error": "Error::InvalidName(\"No-Name\")" }));
    let other = host.get("/named/1/2/variable?name=welcome").await.1;
    assert_eq!(other, json!({ "error": "Error::Undefined(\"welcome\")" }), "it is the other component's");
    assert_eq!(host.get("/environment").await.1, json!({ "MODE": "test" }), "and nothing of the host's environment");
    assert_eq!(host.get("/named/1/2/environment").await.1, json!({}));
    assert!(!host.log().contains("s3cret"));
}

#[tokio::test]
async fn variables_come_from_the_env_file_too_and_the_environment_goes_before() {
    let setup =
        Setup::of(common::APPLICATION).file(".env", b"SPIN_VARIABLE_TOKEN=from-file\nSPIN_VARIABLE_GREETING=file\n");
    let host = setup.env("SPIN_VARIABLE_GREETING", "environment").start().await;
    assert_eq!(host.get("/variable?name=welcome").await.1, json!({ "value": "environment, from-file" }));
}

#[tokio::test]
async fn what_a_component_prints_is_in_the_log_under_its_name() {
    let host = Setup::new().args(&["--log-format", "json"]).start().await;
    assert_eq!(host.get("/print?out=to+stdout&err=to+stderr").await.0, 200);
    for (stream, text) in [("stdout", "to stdout"), ("stderr", "to stderr")] {
        let line: Value = serde_json::from_str(&host.logged(&[text]).await).unwrap();
        assert_eq!((&line["component"], &line["stream"]), (&json!("front"), &json!(stream)), "{line}");
        assert_eq!((&line["target"], &line["message"]), (&json!("guest"), &json!(text)));
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let host = Host::start().await;
    let (_, text) = host.get("/stream?lines=20000").await;
    let lines = text.as_str().unwrap().lines().enumerate().filter(|(index, line)| line.parse() == Ok(*index)).count();
    assert_eq!(lines, 20_000);
    let pieces = futures::stream::iter((0..300).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 10_000])));
    let request = host.client.post(format!("{}/sum", host.url));
    let (status, sum) = host.send(request.body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!((status, sum), (200, json!({ "length": 3_000_000 })));
}

#[tokio::test]
async fn an_answer_is_framed_once_however_the_request_was() {
    let host = Host::start().await;
    let mut stream = std::net::TcpStream::connect(host.address()).unwrap();
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=5\r\nconnection: close\r\n";
    stream.write_all(format!("{head}\r\n4\r\ntext\r\n0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("\"body\":\"text\""), "{answer}");
    assert!(body.contains("\"keep-alive\":\"timeout=5\""), "as Spin, it sees all headers but `connection`: {answer}");
    assert_eq!(head.matches("transfer-encoding").count() + head.matches("content-length").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_request_must_name_one_host() {
    let host = Host::start().await;
    for head in [
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: \r\n\r\n",
        "GET /hello HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET http://a.example/hello HTTP/1.1\r\nhost: b.example\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(host.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap().split_once(' ').unwrap().1, "400", "{head}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_to_who_begins_with_it() {
    let host = Host::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answers = futures::future::join_all((0..50).map(|_| client.get(format!("{}/echo", host.url)).send())).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
        let echo: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(echo["headers"]["spin-full-url"], format!("{}/echo", host.url));
    }
}
