//! What components reach: other components, the application itself, the network; and what they do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{APPLICATION, Host, Setup, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A server that answers every request on a connection with its head, and counts connections.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        Self::with(|stream| async move { answer_all(stream).await }).await
    }

    async fn with<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, connections }
    }
}

/// Answers each request with the text of its head.
async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(head) = read_head(&mut stream).await {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

#[tokio::test]
async fn a_component_calls_another_in_process() {
    let host = Host::start().await;
    let answer = host.fetch("http://back.spin.internal/some/echo?a=b").await;
    assert_eq!(answer["status"], 200);
    let echo = &answer["body"];
    assert_eq!(echo["uri"], "http://back.spin.internal/some/echo?a=b");
    let headers = &echo["headers"];
    for (name, expected) in [
        ("spin-client-addr", json!("0.0.0.0:0")),
        ("spin-path-info", json!("/some/echo")),
        ("spin-full-url", json!("http://localhost/some/echo?a=b")),
        ("spin-matched-route", json!("/...")),
        ("spin-component-route", json!("")),
        ("spin-base-path", json!("/")),
        ("host", Value::Null),
    ] {
        assert_eq!(headers[name], expected, "{name}");
    }
    assert_eq!(host.fetch("http://secluded.spin.internal/hello").await["body"], "Hello", "a private one too");
}

#[tokio::test]
async fn a_caller_cannot_forge_what_the_called_component_sees_of_it() {
    let host = Host::start().await;
    let path = format!("/fetch?forged&url={}", encode("http://back.spin.internal/echo"));
    let headers = host.get(&path).await.1["body"]["headers"].clone();
    assert_eq!(headers["spin-client-addr"], "0.0.0.0:0");
    assert_eq!(headers["spin-path-match-forged"], Value::Null);
}

#[tokio::test]
async fn trace_context_passes_untouched_and_nothing_is_added() {
    let host = Host::start().await;
    let server = Server::start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (url, field) in
        [("http://back.spin.internal/echo".to_owned(), "chained"), (format!("http://{}/", server.address), "world")]
    {
        let request = host.client.get(format!("{}/fetch?forward&url={}", host.url, encode(&url)));
        let (_, answer) = host.send(request.header("traceparent", traceparent).header("tracestate", "a=b")).await;
        let text = answer["body"].to_string();
        assert!(text.contains(traceparent) && text.contains("a=b"), "{field}: {text}");
        assert!(!host.fetch(&url).await["body"].to_string().contains("traceparent"), "{field}");
    }
}

#[tokio::test]
async fn a_body_whose_length_the_component_says_is_not_chunked() {
    let host = Host::start().await;
    let server = Server::start().await;
    let url = encode(&format!("http://{}/", server.address));
    let (_, answer) = host.get(&format!("/fetch?sized&body=text&url={url}")).await;
    let head = answer["body"].as_str().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post ") && head.contains("\r\ncontent-length: 4\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_failing_callee_is_a_500_for_its_caller_alone() {
    let host = Host::start().await;
    for path in ["trap", "fail"] {
        let answer = host.fetch(&format!("http://back.spin.internal/{path}")).await;
        assert_eq!((&answer["status"], &answer["body"]), (&json!(500), &json!("")), "as Spin says it, {path}");
    }
    host.logged(&["instance failed", "component=back"]).await;
    assert!(!host.log().contains("component=front used_bytes"), "the caller's instance goes on: {}", host.log());
}

#[tokio::test]
async fn components_that_call_each_other_in_a_circle_come_to_an_end() {
    let host = Setup::new().args(&["--max-call-depth", "3"]).start().await;
    let mut url = "http://secluded.spin.internal/hello".to_owned();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let mut answer = host.fetch(&url).await;
        while answer["body"].is_object() {
            answer = answer["body"].clone();
        }
        answers.push(answer);
        url = format!("http://secluded.spin.internal/fetch?url={}", encode(&url));
    }
    let hello = json!({ "status": 200, "body": "Hello" });
    assert_eq!(answers[..3], [hello.clone(), hello.clone(), hello], "as deep as allowed");
    assert_eq!(answers[3], json!({ "error": "ErrorCode::LoopDetected" }));
    host.logged(&["in a circle", "component=secluded"]).await;
    assert_eq!(
        host.fetch("http://secluded.spin.internal/hello").await["status"],
        200,
        "a new request begins at the top"
    );
}

#[tokio::test]
async fn requests_that_share_an_instance_do_not_share_their_depth() {
    let host = Setup::new().args(&["--max-call-depth", "3"]).start().await;
    let mut url = "http://secluded.spin.internal/wait?ms=300".to_owned();
    for _ in 0..2 {
        url = format!("http://secluded.spin.internal/fetch?url={}", encode(&url));
    }
    let answers = futures::future::join_all((0..30).map(|_| host.fetch(&url))).await;
    for answer in answers {
        assert_eq!(answer["body"]["body"]["body"]["waited"], 300, "{answer}");
    }
}

#[tokio::test]
async fn an_allowed_component_that_does_not_exist_traps_the_caller() {
    let manifest = APPLICATION.replace("\"http://*.spin.internal\"", "\"http://absent.spin.internal\"");
    let host = Setup::of(&manifest).env("SPIN_VARIABLE_TOKEN", "t").start().await;
    let (status, _) = host.get(&format!("/fetch?url={}", encode("http://absent.spin.internal/"))).await;
    assert_eq!(status, 500);
    host.logged(&["instance failed", "there is no [component.absent]"]).await;
    let denied = host.fetch("http://unnamed.spin.internal/").await;
    assert_eq!(denied, json!({ "error": "ErrorCode::HttpRequestDenied" }), "what is not allowed is denied before that");
}

#[tokio::test]
async fn what_is_not_allowed_is_denied_and_never_connected() {
    let host = Host::start().await;
    let server = Server::start().await;
    let port = server.address.rsplit_once(':').unwrap().1;
    for url in [
        format!("http://localhost:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http://127.0.0.1:{port}@127.0.0.2:{port}/"),
        "http://example.com/".to_owned(),
        "http://absent.spin.internal/".to_owned(),
    ] {
        assert_eq!(host.fetch(&url).await, json!({ "error": "ErrorCode::HttpRequestDenied" }), "{url}");
    }
    host.logged(&["denied", "component=front", "example.com"]).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    let own = host.get(&format!("/named/1/2/fetch?url={}", encode(&format!("http://{}/", server.address)))).await.1;
    assert_eq!(own, json!({ "error": "ErrorCode::HttpRequestDenied" }), "`back` may call nobody");
}

#[tokio::test]
async fn allowed_hosts_follow_variables() {
    let server = Server::start().await;
    let manifest = APPLICATION.replace("\"http://127.0.0.1:*\"", "\"{{ greeting }}\"");
    let url = format!("http://{}", server.address);
    for (value, expected) in [(url.as_str(), json!(200)), ("http://127.0.0.1:1", Value::Null), ("", Value::Null)] {
        let setup = Setup::of(&manifest).env("SPIN_VARIABLE_TOKEN", "t").env("SPIN_VARIABLE_GREETING", value);
        assert_eq!(setup.start().await.fetch(&url).await["status"], expected, "{value}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_shared_by_instances() {
    let host = Setup::new().args(&["--max-instance-reuse-count", "1"]).start().await;
    let server = Server::start().await;
    for _ in 0..20 {
        let answer = host.fetch(&format!("http://{}/a?b", server.address)).await;
        let head = answer["body"].as_str().unwrap().to_lowercase();
        assert!(head.starts_with("get /a?b http/1.1\r\n"), "{head}");
        assert_eq!(head.matches("host: ").count(), 1, "{head}");
        assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_other_side_closed_is_replaced() {
    let host = Host::start().await;
    let server = Server::with(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    for _ in 0..10 {
        assert_eq!(host.fetch(&format!("http://{}/", server.address)).await["status"], 200);
    }
}

#[tokio::test]
async fn failures_of_the_network_have_their_error_codes() {
    let host = Host::start().await;
    // Bound, so that nobody else gets the port, and not listened on.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = unheard.local_addr().unwrap();
    let hangs_up = Server::with(|mut stream| async move { drop(read_head(&mut stream).await) }).await;
    let silent = Server::with(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    for (url, expected) in [
        (format!("http://{nobody}/"), "ErrorCode::ConnectionRefused"),
        (format!("http://{}/", hangs_up.address), "ErrorCode::ConnectionTerminated"),
        ("http://does-not-exist.invalid/".to_owned(), "ErrorCode::DnsError(DnsErrorPayload"),
    ] {
        let answer = host.fetch(&url).await;
        assert!(answer["error"].as_str().unwrap_or_default().starts_with(expected), "{url}: {answer}");
    }
    let url = format!("/fetch?first_byte_ms=50&url={}", encode(&format!("http://{}/", silent.address)));
    assert_eq!(host.get(&url).await.1, json!({ "error": "ErrorCode::ConnectionReadTimeout" }));
    let slow = format!("/fetch?first_byte_ms=50&url={}", encode("http://back.spin.internal/wait?ms=60000"));
    assert_eq!(
        host.get(&slow).await.1,
        json!({ "error": "ErrorCode::ConnectionReadTimeout" }),
        "another component too"
    );
}

#[tokio::test]
async fn the_application_can_call_itself_where_it_is_allowed() {
    let host = Host::start().await;
    let answer = host.fetch("http://self.alt/named/7/8/echo").await;
    let headers = &answer["body"]["headers"];
    assert_eq!(headers["spin-path-match-id"], "7", "through the routes, as from outside: {answer}");
    assert_eq!(headers["host"], host.address());
    let denied = host.get(&format!("/named/1/2/fetch?url={}", encode("http://self.alt/hello"))).await.1;
    assert_eq!(denied, json!({ "error": "ErrorCode::HttpRequestDenied" }));
}

#[tokio::test]
async fn https_trusts_what_the_machine_trusts_and_nobody_else() {
    let trusted = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, trusted.cert.pem()).unwrap();
    let host = Setup::new().env("SSL_CERT_FILE", &file.display().to_string()).start().await;
    for (key, expected) in [(trusted, "200"), (stranger, "\"ErrorCode::TlsCertificateError\"")] {
        let acceptor = acceptor(&key);
        let server = Server::with(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer_all(stream).await;
                }
            }
        })
        .await;
        let port = server.address.rsplit_once(':').unwrap().1;
        for _ in 0..3 {
            let answer = host.fetch(&format!("https://localhost:{port}/")).await;
            let outcome = answer.get("status").or(answer.get("error")).unwrap();
            assert_eq!(outcome.to_string(), expected, "{answer}");
        }
        let connections = server.connections.load(Ordering::SeqCst);
        assert_eq!(connections, if expected == "200" { 1 } else { 3 }, "a good connection is kept");
    }
}

fn acceptor(key: &rcgen::CertifiedKey<rcgen::KeyPair>) -> tokio_rustls::TlsAcceptor {
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn many_calls_between_components_at_once_all_come_back() {
    // All are let in: what is tried here is that they don't starve each other.
    let host = Setup::new().args(&["--target-latency", "0s"]).start().await;
    let url = "http://back.spin.internal/wait?ms=20";
    let calls = futures::future::join_all((0..200).map(|_| host.fetch(url)));
    let answers = tokio::time::timeout(Duration::from_secs(60), calls).await.expect("they wait for each other");
    assert!(answers.iter().all(|answer| answer["status"] == 200));
}
