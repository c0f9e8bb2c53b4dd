//! The program: its exit status, its signals, its logs, its traces.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Component, ServiceSetup, Setup, eventually, send_signal, status};

pub(crate) struct Config(PathBuf);

impl Config {
    pub(crate) fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("towpath-relay-{}.toml", uuid::Uuid::now_v7()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn command(config: &Config, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towpath-relay"));
    command.args([name, "--config"]).arg(&config.0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(config: &Config, name: &str) -> Output {
    tokio::time::timeout(Duration::from_secs(20), command(config, name).output()).await.expect("it ends").unwrap()
}

/// A relay that says on which address it listens.
pub(crate) struct Process {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    pub(crate) address: String,
}

impl Process {
    pub(crate) async fn start(config: &Config) -> Self {
        let mut child = command(config, "run").spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it logs that it listens");
            let line: Value = serde_json::from_str(&line).expect("every line is JSON");
            if line["message"] == "the relay is listening" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        Self { child, lines, address }
    }

    /// Reads its log from now on and keeps nothing, so that it never waits for a reader.
    pub(crate) fn read_on(self) -> Running {
        let Self { child, mut lines, address } = self;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Running { child, address }
    }

    fn signal(&self, signal: Signal) {
        send_signal(self.child.id().unwrap(), signal);
    }

    async fn ends(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.into_inner().read_to_string(&mut rest).await.unwrap();
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.expect("it ends").unwrap();
        (status.code(), rest)
    }
}

/// A relay whose log somebody reads.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
}

impl Running {
    /// A field of its `/proc/PID/status` in MiB, such as `VmRSS`.
    pub(crate) fn memory_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

fn setup() -> Setup {
    Setup::new().service(ServiceSetup::new("alpha"))
}

#[tokio::test]
async fn a_bad_configuration_is_told_whole_with_status_64() {
    let config = Config::new("[relay]\nlissten = 1\n[redis]\nurl = 7\n");
    for name in ["run", "check", "migrate"] {
        let output = output(&config, name).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        for part in ["line 2: relay.lissten: ", "line 4: redis.url: ", "services: names no service"] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        assert!(output.stdout.is_empty());
    }
    let missing = output(&Config("/nowhere/relay.toml".into()), "check").await;
    assert_eq!(missing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("can't be read"));
}

#[tokio::test]
async fn a_right_configuration_is_said_to_be_right() {
    let setup = setup();
    let output = output(&Config::new(&setup.text("one")), "check").await;
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("is valid: 1 service"));
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = setup().text("one").replacen("127.0.0.1:0", &address.to_string(), 1);
    let output = output(&Config::new(&text), "run").await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains(&format!("relay.listen: can't listen on {address}: Address already in use")), "{said}");
}

#[tokio::test]
async fn a_signal_stops_it_gracefully() {
    let setup = setup();
    let config = Config::new(&setup.text("one"));
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(&config).await;
        process.signal(signal);
        let (code, said) = process.ends().await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("\"graceful\":true"), "{said}");
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_answer_of_kafka() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("brokers = \"{}\"", silent.local_addr().unwrap());
    let setup = Setup::new().service(ServiceSetup::new("alpha")).declare("events");
    // Less than the relay waits for such an answer.
    let text = setup.text("one").replacen("[relay]\n", "[relay]\nshutdown_deadline_ms = 5000\n", 1);
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with("brokers = ") { &*address } else { line }).collect();
    let process = Process::start(&Config::new(&lines.join("\n"))).await;
    // A look at the topics has begun.
    silent.accept().unwrap();
    process.signal(Signal::TERM);
    let (code, said) = process.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"graceful\":true"), "{said}");
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    use tokio::io::AsyncWriteExt;
    let setup = setup();
    let text = setup.text("one").replacen("[relay]\n", "[relay]\nshutdown_deadline_ms = 600000\n", 1);
    let mut process = Process::start(&Config::new(&text)).await;
    let mut stream = tokio::net::TcpStream::connect(&process.address).await.unwrap();
    let head = format!(
        "PUT /v1/cache/k HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nauthorization: Bearer {}\r\ncontent-length: 9\r\n\r\n",
        setup.token("alpha")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // `100 Continue` comes when the handler reads: the request is in flight.
    stream.read_exact(&mut [0; 12]).await.unwrap();
    process.signal(Signal::TERM);
    while !process.lines.next_line().await.unwrap().unwrap().contains("the relay is stopping") {}
    process.signal(Signal::TERM);
    let (code, said) = process.ends().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"graceful\":false"), "{said}");
}

#[tokio::test]
async fn traces_are_exported_and_follow_the_caller() {
    let collector = Component::start().await;
    collector.answer(|_| status(StatusCode::OK));
    let setup = setup().toml(&format!("[telemetry]\notlp_endpoint = \"{}\"", collector.url));
    let process = Process::start(&Config::new(&setup.text("one"))).await;
    let url = format!("http://{}/v1/cache/k", process.address);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = reqwest::Client::new().get(url).bearer_auth(setup.token("alpha"));
    let request = request.header("towpath-traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    request.header("traceparent", "00-11111111111111111111111111111111-2222222222222222-01").send().await.unwrap();
    // What is left is exported at the end.
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.0, Some(0));
    let trace_bytes: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&trace[at..at + 2], 16).unwrap()).collect();
    let call = eventually("the collector has the span", async || {
        let calls = collector.calls();
        calls.iter().find(|call| call.body.windows(16).any(|bytes| bytes == trace_bytes)).cloned().ok_or(calls)
    })
    .await;
    assert_eq!((call.path.as_str(), call.header("content-type")), ("/v1/traces", "application/x-protobuf"));
    assert!(!call.body.windows(16).any(|bytes| bytes == [0x11; 16]), "ours is preferred");
}
