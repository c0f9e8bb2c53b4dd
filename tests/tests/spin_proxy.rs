//! infra/spin/nginx.conf, which docs/spin.md puts before Spin, in a real nginx: what reaches the server behind it, and what doesn't.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::env;
use std::net::TcpListener as Std;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towpath_stack::testing::{TempDir, root};
use towpath_tests::eventually;

const PATIENCE: Duration = Duration::from_secs(60);
/// Connections of one address, as the configuration has it.
const CONNECTIONS: usize = 256;

/// A server in Spin's place: it writes down every request whose head it gets, answers 200, and what asks for `/hang` never.
#[derive(Clone, Default)]
struct Behind {
    requests: Arc<Mutex<Vec<String>>>,
}

impl Behind {
    async fn listen() -> (Self, u16) {
        let behind = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = behind.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(server.clone().serve(stream));
            }
        });
        (behind, port)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                match stream.read_buf(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => continue,
                }
            };
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.lines().next().unwrap_or_default().parse::<usize>().unwrap());
            self.requests.lock().unwrap().push(head.clone());
            while bytes.len() < end + 4 + length {
                if matches!(stream.read_buf(&mut bytes).await, Ok(0) | Err(_)) {
                    return;
                }
            }
            bytes.drain(..end + 4 + length);
            if head.starts_with("GET /hang") {
                std::future::pending::<()>().await;
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }

    fn count(&self, part: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|head| head.contains(part)).count()
    }
}

struct Proxy {
    port: u16,
    behind: Behind,
    child: Child,
    _folder: TempDir,
}

impl Proxy {
    async fn start() -> Self {
        let nginx = env::var_os("TOWPATH_TEST_NGINX").expect("`./towpath test` sets TOWPATH_TEST_NGINX");
        let (behind, spin) = Behind::listen().await;
        let port = Std::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = std::fs::read_to_string(root().join("infra/spin/nginx.conf")).unwrap();
        assert_eq!(
            (text.matches("listen 127.0.0.1:8080").count(), text.matches("server 127.0.0.1:3000").count()),
            (2, 1)
        );
        let text = text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        let folder = TempDir::new();
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text.replace("127.0.0.1:3000", &format!("127.0.0.1:{spin}"))).unwrap();
        // Where root starts it, its workers are somebody else.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c"]).arg(&config);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let proxy = Self { port, behind, child, _folder: folder };
        eventually("nginx listens", PATIENCE, || async { TcpStream::connect(("127.0.0.1", port)).await.map(drop) })
            .await;
        proxy
    }

    async fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        // An early answer may close the connection before all is sent.
        let _ = stream.write_all(request).await;
        stream
    }

    /// The status of the answer.
    async fn status(&self, request: &[u8]) -> u16 {
        status(&mut self.send(request).await).await
    }

    /// The status of the answer to a GET of this path with these further headers.
    async fn get(&self, path: &str, headers: &str) -> u16 {
        self.status(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes()).await
    }
}

impl Drop for Proxy {
    /// Its first process ends the others, if it is asked and not killed.
    fn drop(&mut self) {
        let nginx = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(nginx, Signal::TERM).expect("nginx runs");
        self.child.wait().expect("nginx ends");
    }
}

async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer in time");
    read.expect("an answer");
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn spin_hears_of_no_address_that_a_client_names() {
    let proxy = Proxy::start().await;
    let forged = "spin-client-addr: 6.6.6.6:6\r\nSpin-Client-Addr: 7.7.7.7:7\r\nspin_client_addr: 8.8.8.8:8\r\n";
    assert_eq!(proxy.get("/v1/products", forged).await, 200);
    assert_eq!(proxy.behind.count("GET /v1/products HTTP/1.1\r\n"), 1);
    for address in ["6.6.6.6", "7.7.7.7", "8.8.8.8"] {
        assert_eq!(proxy.behind.count(address), 0, "{:?}", proxy.behind.requests.lock().unwrap());
    }
}

#[tokio::test]
async fn deliveries_are_closed_in_every_spelling() {
    let proxy = Proxy::start().await;
    let paths = [
        "/_relay/order/events",
        "/_relay",
        "/%5frelay/order/events",
        "/%5Frelay/order/events",
        "//_relay/order/events",
        "/./_relay/order/events",
        "/x/../_relay/order/events",
        "/x/..%2f_relay/order/events",
        "/x/%2e%2e/_relay/order/events",
        "/_%72elay/order/events?x=/",
        "/.well-known/spin/info",
    ];
    for path in paths {
        assert_eq!(proxy.get(path, "").await, 404, "{path}");
    }
    assert_eq!(proxy.get("http://localhost/_relay/order/events", "").await, 404);
    assert_eq!(proxy.behind.count("HTTP/1.1"), 0);
    assert_eq!(proxy.get("/v1/orders/_relay", "").await, 200, "only the prefix");
}

#[tokio::test]
async fn what_is_too_large_or_for_another_host_is_refused_before_spin() {
    let proxy = Proxy::start().await;
    let post =
        |length: usize| format!("POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    assert_eq!(proxy.status(post((10 << 20) + 1).as_bytes()).await, 413);
    assert_eq!(proxy.get("/", &format!("x-long: {}\r\n", "x".repeat(9 << 10))).await, 400);
    assert_eq!(proxy.status(b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n").await, 421);
    assert_eq!(proxy.status(b"GET / HTTP/1.0\r\n\r\n").await, 421);
    assert_eq!(proxy.behind.count("HTTP/1.1"), 0);
}

#[tokio::test]
async fn spin_hears_of_a_request_when_it_is_whole() {
    let proxy = Proxy::start().await;
    let head = b"POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n{}";
    let mut slow = proxy.send(head).await;
    assert_eq!(proxy.get("/quick", "").await, 200);
    assert_eq!((proxy.behind.count("/slow"), proxy.behind.count("/quick")), (0, 1));
    slow.write_all(b"  ").await.unwrap();
    assert_eq!(status(&mut slow).await, 200);
    assert_eq!(proxy.behind.count("/slow"), 1);
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() {
    let proxy = Proxy::start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(proxy.send(b"GET /hang HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
    }
    eventually("all of them wait behind it", PATIENCE, || async {
        match proxy.behind.count("/hang") {
            CONNECTIONS => Ok(()),
            some => Err(some),
        }
    })
    .await;
    assert_eq!(proxy.get("/", "").await, 503);
    drop(held);
    eventually("who comes later is served again", PATIENCE, || async {
        match proxy.get("/", "").await {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}
