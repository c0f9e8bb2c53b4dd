//! Runs the host's own binary on a manifest and speaks HTTP with it.

#![allow(dead_code, unreachable_pub, reason = "each test binary is a crate of its own and uses its own part")]

pub mod expected;
pub mod frames;
pub mod raw;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

/// How long anything may take that must come to pass. Long, for the machine may be busy; what works is far faster.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The component of host/tests/guest.
pub fn guest() -> PathBuf {
    let path = std::env::var_os("TOWPATH_TEST_GUEST")
        .expect("TOWPATH_TEST_GUEST must name towpath_host_guest.wasm; `./towpath test` builds it and sets that");
    let path = PathBuf::from(path);
    assert!(path.is_file(), "TOWPATH_TEST_GUEST names {}, which is no file", path.display());
    path
}

/// Two components of the test guest: `front`, which takes everything and may call much, and `back`, which may call nobody.
pub const APPLICATION: &str = r#"
spin_manifest_version = 2
[application]
name = "host-test"
version = "1.2.3"

[variables]
greeting = { default = "hello" }
token = { required = true, secret = true }

[[trigger.http]]
route = "/..."
component = "front"

[[trigger.http]]
route = "/named/:id/:Second_Part/..."
component = "back"

[[trigger.http]]
route = "/fixed/echo"
component = "back"

[[trigger.http]]
route = "/fixed"
static_response = { status_code = 418, headers = { x-kind = "fixed" }, body = "always the same" }

[[trigger.http]]
route = { private = true }
component = "secluded"

[component.front]
source = "@GUEST@"
allowed_outbound_hosts = ["http://*.spin.internal", "http://127.0.0.1:*", "https://localhost:*", "http://*.invalid", "http://self"]
environment = { MODE = "test" }
[component.front.variables]
welcome = "{{ greeting }}, {{ token }}"

[component.back]
source = "@GUEST@"

[component.secluded]
source = "@GUEST@"
allowed_outbound_hosts = ["http://secluded.spin.internal", "http://front.spin.internal"]
"#;

/// A host that is told how to start.
pub struct Setup {
    manifest: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: TempDir,
    /// The soft limit of open files that the host finds.
    descriptors: Option<u32>,
}

impl Setup {
    /// With the application above and a value for its required variable.
    pub fn new() -> Self {
        Self::of(APPLICATION).env("SPIN_VARIABLE_TOKEN", "s3cret")
    }

    pub fn of(manifest: &str) -> Self {
        let manifest = manifest.replace("@GUEST@", &guest().display().to_string());
        Self {
            manifest,
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            descriptors: None,
        }
    }

    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the host with this soft limit of open files.
    pub fn descriptors(mut self, soft_limit: u32) -> Self {
        self.descriptors = Some(soft_limit);
        self
    }

    /// A file beside the manifest.
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    fn command(&self) -> Command {
        let manifest = self.folder.path().join("spin.toml");
        std::fs::File::create(&manifest).unwrap().write_all(self.manifest.as_bytes()).unwrap();
        let host = env!("CARGO_BIN_EXE_towpath-host");
        let mut command = match self.descriptors {
            None => Command::new(host),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -S -n {limit} && exec \"$0\" \"$@\""), host]);
                shell
            }
        };
        command
            .arg("--manifest")
            .arg(manifest)
            // Compiled once for all tests.
            .arg("--cache-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("host-cache"))
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a host that is expected to end by itself: its exit status and all it wrote to stderr.
    pub async fn fail(self) -> (i32, String) {
        let mut command = self.command();
        if !self.arguments.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the host did not end").unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a host and waits until it listens.
    pub async fn start(self) -> Host {
        let free = ["--listen", "127.0.0.1:0", "--deliveries-listen", "127.0.0.1:0"];
        let mut child = self.command().args(free).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = log.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                let mut written = written.lock().unwrap();
                written.push_str(&line);
                written.push('\n');
            }
        });
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, output.next_line()).await.expect("the host did not listen").unwrap();
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening ")).map(str::to_owned);
        let url = url.unwrap_or_else(|| panic!("the host said {line:?}; its log: {}", log.lock().unwrap()));
        Host { child, url, output, log, reading, client: reqwest::Client::new(), _folder: self.folder }
    }
}

/// A host that runs.
pub struct Host {
    child: Child,
    pub url: String,
    output: Lines<BufReader<ChildStdout>>,
    log: Arc<Mutex<String>>,
    /// Ends when the host has closed its log.
    reading: JoinHandle<()>,
    pub client: reqwest::Client,
    _folder: TempDir,
}

impl Host {
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// Where it listens for deliveries, if the application takes some. Ask once.
    pub async fn deliveries_url(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await.expect("no second listener").unwrap();
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening for deliveries "));
        url.unwrap_or_else(|| panic!("the host said {line:?}")).to_owned()
    }

    /// The memory of the process that is in use, in bytes.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().expect("the host runs"));
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The address without `http://`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    /// Sends a request; the answer's body as JSON, or as a string where it is none.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response =
            tokio::time::timeout(PATIENCE, request.send()).await.expect("no answer in time").expect("no answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer of `front` when it calls `url`.
    pub async fn fetch(&self, url: &str) -> Value {
        let (status, body) = self.get(&format!("/fetch?url={}", encode(url))).await;
        assert_eq!(status, 200, "{body}\n{}", self.log());
        body
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the component `name` has said `times` times that it waits.
    pub async fn waiting(&self, name: &str, times: usize) {
        let component = format!("component={name}");
        let lines =
            |log: &str| log.lines().filter(|line| line.contains("waiting") && line.contains(&component)).count();
        let found = eventually(|| (lines(&self.log()) >= times).then_some(())).await;
        found.unwrap_or_else(|| panic!("{name} does not wait:\n{}", self.log()));
    }

    /// Waits until the log has a line with all of `texts` in it, and gives it back.
    pub async fn logged(&self, texts: &[&str]) -> String {
        let found = || {
            let log = self.log();
            log.lines().find(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned)
        };
        eventually(found).await.unwrap_or_else(|| panic!("no line with {texts:?} in the log:\n{}", self.log()))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("the host runs");
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the host ends: its exit status and its whole log.
    pub async fn exit(mut self) -> (i32, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the host did not end").unwrap();
        tokio::time::timeout(PATIENCE, &mut self.reading).await.expect("the log does not end").unwrap();
        (status.code().unwrap_or(-1), self.log())
    }
}

/// Asks again until there is an answer; `None` where there is none after all patience.
pub async fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let asking = async {
        loop {
            interval.tick().await;
            if let Some(answer) = ask() {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.ok()
}

/// Percent-encodes everything that could mean something in a query.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
