//! Connections as no library makes them: bytes, and frames of HTTP/2 (RFC 9113).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The window of a connection before anything else is said.
pub(super) const FIRST_WINDOW: usize = 65_535;

/// What comes in a frame.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// Writes frames.
pub(super) struct Writer(OwnedWriteHalf, String);

/// Connects by HTTP/2; `window` is the window of this side's streams.
pub(super) async fn http2(address: &str, window: Option<u32>) -> io::Result<(OwnedReadHalf, Writer)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut writer = Writer(write, address.to_owned());
    writer.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let settings = window.map(|window| [&[0, 4][..], &window.to_be_bytes()].concat()).unwrap_or_default();
    writer.frame(SETTINGS, 0, 0, &settings).await?;
    Ok((read, writer))
}

impl Writer {
    pub(super) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[head.as_slice(), payload].concat()).await
    }

    /// The head of a request.
    pub(super) async fn request(&mut self, stream: u32, method: &str, path: &str, flags: u8) -> io::Result<()> {
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", &self.1),
            ("content-type", "application/json"),
            ("idempotency-key", "stranger"),
        ];
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
        self.frame(HEADERS, END_HEADERS | flags, stream, &block).await
    }
}

/// A field without indexing (RFC 7541, section 6.2.2), with less than 127 bytes in name and value.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(126)], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The next frame.
pub(super) async fn next(read: &mut OwnedReadHalf) -> io::Result<Frame> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    read.read_exact(&mut payload).await?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
}

/// Reads until the other side hangs up.
pub(super) async fn drain(mut read: impl tokio::io::AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop)
}

/// Sends these bytes over HTTP/1.
pub(super) async fn http1(address: &str, text: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
}
