//! One HTTP/1.1 connection that stays open: what a client of a benchmark needs and nothing that costs more.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection to one server.
pub(super) struct Line {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Line {
    /// Connects to `base`, such as `http://127.0.0.1:3000`.
    pub(super) async fn open(base: &str) -> Result<Self> {
        let authority = base.strip_prefix("http://").with_context(|| format!("{base} is no http:// URL"))?;
        let authority = authority.trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&authority).await.with_context(|| format!("cannot connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what goes wrong on it comes back from the sender's calls.
        tokio::spawn(connection);
        Ok(Self { authority, sender })
    }

    /// Whether the other side keeps it open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends one request and reads the whole answer: its status and its body.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(u16, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.authority);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body.into()))?).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// The same, where any status but `wanted` is an error.
    pub(super) async fn expect(
        &mut self,
        wanted: u16,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Bytes> {
        let name = format!("{method} {path}");
        match self.call(method, path, headers, body).await? {
            (status, body) if status == wanted => Ok(body),
            (status, body) => bail!("{name}: wanted {wanted}, got {status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}
