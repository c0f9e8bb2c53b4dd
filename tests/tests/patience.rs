//! Components end what takes too long by their own clock. Spin knows no timeout of a call to another component, so the host here
//! is told to be as patient: what answers in this test is no limit of its own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use towpath_stack::testing::{TempDir, root, services};
use towpath_tests::eventually;

/// Far more than any timeout of a component; the waits here are longer still.
const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that takes every request, begins its answer or not, and never ends it.
struct Silent {
    url: String,
    task: AbortHandle,
}

impl Silent {
    async fn saying(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 16];
                if stream.read(&mut request).await.is_ok() && stream.write_all(answer).await.is_ok() {
                    held.push(stream);
                }
            }
        });
        Self { url, task: task.abort_handle() }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The application on the embedded host, with the host tests' guest in the place of `product`.
struct Host {
    url: String,
    log: Arc<Mutex<String>>,
    _child: Child,
    /// A host that can't say where it listens ends.
    _said: Lines<BufReader<ChildStdout>>,
    _folder: TempDir,
}

impl Host {
    async fn start(relay: &Silent) -> Self {
        let variable =
            |name: &str| PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("`./towpath test` sets {name}")));
        let guest = variable("TOWPATH_TEST_GUEST");
        let folder = TempDir::new();
        let manifest = folder.path().join("spin.toml");
        let text = std::fs::read_to_string(root().join("spin.toml")).unwrap();
        let built = root().canonicalize().unwrap().join("target/wasm");
        let text = text.replace("source = \"target/wasm", &format!("source = \"{}", built.display()));
        let product = format!("{}/wasm32-wasip2/component/towpath_product.wasm", built.display());
        assert!(text.contains(&product), "spin.toml has a product");
        std::fs::write(&manifest, text.replace(&product, guest.to_str().unwrap())).unwrap();
        let services = services();
        let tokens = services.spin_variables().filter(|name| name.ends_with("_TOKEN")).map(|name| (name, "x"));
        let mut child = Command::new(variable("TOWPATH_TEST_CLI").with_file_name("towpath-host"))
            .args([Path::new("--manifest"), &manifest])
            .args(["--listen", "127.0.0.1:0", "--deliveries-listen", "127.0.0.1:0", "--request-timeout", "10m"])
            // Compiled once for all tests.
            .args([Path::new("--cache-dir"), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")])
            .envs(tokens.collect::<Vec<_>>())
            .env("SPIN_VARIABLE_RELAY_URL", &relay.url)
            .env("SPIN_VARIABLE_RATE_LIMIT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                *written.lock().await += &(line + "\n");
            }
        });
        let line = tokio::time::timeout(PATIENCE, said.next_line()).await.expect("it listens").unwrap();
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening "));
        let url = url.unwrap_or_else(|| panic!("the host said {line:?}")).to_owned();
        Self { url, log, _child: child, _said: said, _folder: folder }
    }

    /// The status and the code of the answer, which must come while what it waits for still hangs.
    async fn refusal(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("a service bounds itself").unwrap();
        let status = answer.status().as_u16();
        let document: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        (status, document["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a component has written that its own clock ended a call.
    async fn says_whose_clock(&self, cause: &str) {
        eventually("the component says whose clock it was", PATIENCE, || async {
            let log = self.log.lock().await.clone();
            let said = log.lines().any(|line| line.contains(cause) && line.contains("by the caller's clock"));
            if said { Ok(()) } else { Err(log) }
        })
        .await;
    }
}

#[tokio::test]
async fn the_gateway_waits_for_a_service_by_its_own_clock() {
    let relay = Silent::saying(b"").await;
    let host = Host::start(&relay).await;
    let client = reqwest::Client::new();
    let hangs = || format!("{}/v1/products/wait?ms=86400000", host.url);
    assert_eq!(host.refusal(client.get(hangs())).await, (503, "unavailable".to_owned()));
    host.says_whose_clock("product: no answer in time").await;
    // What may have been done is not called undone.
    let post = client.post(hangs()).header("content-type", "application/json").body("{}");
    assert_eq!(host.refusal(post).await, (503, "outcome_unknown".to_owned()));
}

#[tokio::test]
async fn a_service_waits_for_the_relay_by_its_own_clock() {
    let begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    for answer in [&b""[..], begun] {
        let relay = Silent::saying(answer).await;
        let host = Host::start(&relay).await;
        let order = format!("{}/v1/orders/01990000-0000-7000-8000-000000000000", host.url);
        let (status, code) = host.refusal(reqwest::Client::new().get(order)).await;
        assert_eq!((status, code.as_str()), (503, "unavailable"), "{}", host.log.lock().await);
        host.says_whose_clock("/v1/orders/").await;
    }
}
