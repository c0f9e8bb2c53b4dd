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

use super::cost::Meter;
use super::figure::Figure;
use super::line::Line;
use super::load::{self, Client};
use super::plan::{Plan, Rounds};

/// GET of one path, over one connection.
pub(super) struct Getter {
    line: Line,
    path: String,
}

impl Client for Getter {
    async fn call(&mut self) -> Result<()> {
        self.line.expect(200, Method::GET, &self.path, &[], Bytes::new()).await.map(drop)
    }
}

/// So many of them.
pub(super) async fn getters(clients: usize, base: &str, path: &str) -> Result<Vec<Getter>> {
    let mut getters = Vec::new();
    for _ in 0..clients {
        getters.push(Getter { line: Line::open(base).await?, path: path.to_owned() });
    }
    Ok(getters)
}

/// Measures both.
pub(super) async fn run(plan: &Plan, url: &str, meter: &Meter<'_>) -> Result<Vec<Figure>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let bare = format!("http://{}", listener.local_addr()?);
    let _server = AbortOnDropHandle::new(tokio::spawn(answer(listener)));
    let mut figures = Vec::new();
    for &clients in &plan.clients {
        let (mut bare_rounds, mut rounds) = (Rounds::default(), Rounds::default());
        let mut others = load::closed(plan.warm_up(), getters(clients, &bare, "/").await?).await?.1;
        let mut ours = load::closed(plan.warm_up(), getters(clients, url, "/healthz").await?).await?.1;
        for _ in 0..plan.rounds {
            let (measured, back) = load::closed(plan.time, others).await?;
            bare_rounds.add(&measured);
            others = back;
            ours = rounds.run(meter, plan.time, ours).await?;
        }
        let figure = Figure::of(format!("GET /healthz, {clients} clients"), "requests/s", &rounds.per_second);
        let figure = figure.beside("a bare hyper server", &rounds.per_second, &bare_rounds.per_second);
        figures.push(figure.taking(rounds.latency()).costing(rounds.cost()));
    }
    Ok(figures)
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
