//! What the host costs: `GET /healthz` through it, beside a hyper server that does nothing but answer.

use std::convert::Infallible;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::line::Line;
use super::load::{Client, Load, Measured, TURNS};
use super::report::Row;

struct Getter(Line);

impl Client for Getter {
    async fn call(&mut self) -> Result<()> {
        self.0.expect(200, Method::GET, "/healthz", &[], Bytes::new()).await.map(drop)
    }
}

async fn measure(load: Load, base: &str) -> Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..load.clients {
        clients.push(Getter(Line::open(base).await?));
    }
    load.run(clients).await
}

/// Measures both.
pub(super) async fn run(load: Load, url: &str) -> Result<Row> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let bare = format!("http://{}", listener.local_addr()?);
    let server = AbortOnDropHandle::new(tokio::spawn(answer(listener)));
    let (mut beside, mut measured) = (Measured::default(), Measured::default());
    for _ in 0..TURNS {
        beside = beside.and(measure(load.turn(), &bare).await?);
        measured = measured.and(measure(load.turn(), url).await?);
    }
    drop(server);
    Ok(Row::of("GET /healthz through the host", "requests/s", &measured).beside("bare hyper", beside.per_second()))
}

/// Answers 200 to everything, one task for each connection.
async fn answer(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = || Full::new(Bytes::from_static(b"{\"status\":\"ok\"}"));
        let service = service_fn(move |_| async move { Ok::<_, Infallible>(Response::new(body())) });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
