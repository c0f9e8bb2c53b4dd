//! The TCP connection of a client. The request that it carries can tell whether the client is still there, although hyper
//! reads nothing while it waits for the response.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::connections::Activity;
use super::held::{Held, Hold};
use crate::problem::Problem;

/// What a request knows of its client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Address and port.
    pub(super) address: HeaderValue,
    /// Whom its limits are for.
    pub(super) owner: IpAddr,
    stream: Arc<TcpStream>,
}

impl Client {
    pub(super) fn new(address: HeaderValue, owner: IpAddr, stream: Arc<TcpStream>) -> Self {
        Self { address, owner, stream }
    }

    /// The host's own address on this connection.
    pub(super) fn local(&self) -> Option<std::net::SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Resolves once the client sends nothing any more: it left, or it closed its own side and waits for the response.
    pub(super) async fn stopped_sending(&self) {
        // Linux reports the end of the other side's data with whatever is asked for; this asks for nothing that is read.
        if self.stream.ready(Interest::PRIORITY).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves once the connection is broken: the client does not receive any more either.
    pub(super) async fn left(&self) {
        if self.stream.ready(Interest::ERROR).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// After the end of a refused request, the host reads what the client still sends for this long: unread data would make the
/// kernel reset the connection, and the client would never see the answer.
const LINGER: Duration = Duration::from_secs(2);
/// It reads no more than this.
const MAX_LINGER_BYTES: usize = 16 << 20;

/// The stream of a connection, as hyper reads and writes it.
///
/// hyper itself refuses what it cannot read, with a status and nothing else. This gives these answers a problem document.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
    /// The requests whose answers are written. If there were no others, what hyper writes is its own.
    written: u64,
    /// What is written in place of hyper's refusal of this length.
    refusal: Option<(Bytes, usize)>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    head: Head,
}

/// What is held for the head of a request. Whoever gets the request takes it.
pub(super) type HeadHold = Arc<Mutex<Option<Hold>>>;

/// Counts the bytes of a request's head in HTTP/1 among those that the host holds, until it is whole.
#[derive(Debug)]
pub(super) struct Head {
    held: Held,
    owner: IpAddr,
    /// Ends the connection.
    given_up: CancellationToken,
    hold: HeadHold,
    /// HTTP/2 has limits of its own for them.
    is_http2: bool,
    /// The bytes that came.
    total: usize,
}

impl Head {
    pub(super) fn new(held: Held, owner: IpAddr, given_up: CancellationToken, hold: HeadHold) -> Self {
        Self { held, owner, given_up, hold, is_http2: false, total: 0 }
    }

    /// Bytes came on a connection without a request, or with one.
    ///
    /// # Errors
    /// The first frame of HTTP/2 is not SETTINGS (RFC 9113, section 3.4), which the library does not look at.
    fn came(&mut self, bytes: &[u8], has_request: bool) -> io::Result<()> {
        /// Where the type of the first frame stands, behind the preface and the length of the frame.
        const FIRST_TYPE: usize = 24 + 3;
        const SETTINGS: u8 = 4;
        self.is_http2 |= self.total == 0 && bytes.starts_with(b"PRI ");
        let first = FIRST_TYPE.checked_sub(self.total).and_then(|at| bytes.get(at));
        self.total = self.total.saturating_add(bytes.len());
        if self.is_http2 && first.is_some_and(|kind| *kind != SETTINGS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame of HTTP/2 is not SETTINGS"));
        }
        if has_request || self.is_http2 {
            return Ok(());
        }
        let bytes = bytes.len() as u64;
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        match &*hold {
            Some(hold) => hold.grow(bytes),
            None => *hold = Some(self.held.hold(self.owner, bytes, self.given_up.clone())),
        }
        Ok(())
    }
}

impl ClientStream {
    pub(super) fn new(stream: Arc<TcpStream>, activity: Arc<Activity>, head: Head) -> Self {
        Self { stream, activity, written: 0, refusal: None, linger: None, head }
    }

    fn try_write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Writes a problem document in place of hyper's own refusal, if `bytes` is one. Then returns the length of that.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if self.refusal.is_none() && self.activity.requests() == self.written {
            self.refusal = with_document(bytes).map(|document| (document, bytes.len()));
        }
        while let Some((document, _)) = &self.refusal {
            if document.is_empty() {
                break;
            }
            let written = ready!(self.try_write(cx, |stream| stream.try_write(document)))?;
            if let Some((document, _)) = &mut self.refusal {
                document.advance(written);
            }
        }
        // Until the connection ends, so that it lingers.
        Poll::Ready(Ok(self.refusal.as_mut().map(|(_, length)| std::mem::take(length)).filter(|length| *length > 0)))
    }
}

/// The refusal that hyper writes, with a problem document. `None` for whatever else it writes.
fn with_document(bytes: &[u8]) -> Option<Bytes> {
    const EMPTY: &str = "content-length: 0\r\n";
    let head = std::str::from_utf8(bytes).ok().filter(|head| head.ends_with("\r\n\r\n"))?;
    let problem = match head.strip_prefix("HTTP/1.")?.get(1..5)? {
        " 400" => Problem::MalformedRequest,
        " 414" => Problem::UriTooLong,
        " 431" => Problem::HeadersTooLarge,
        _ => return None,
    };
    let (before, after) = head.split_once(EMPTY)?;
    let document = problem.document().into_body();
    let fields = format!("content-type: application/problem+json\r\ncontent-length: {}\r\n", document.len());
    Some([before.as_bytes(), fields.as_bytes(), after.as_bytes(), &document].concat().into())
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    let has_request = self.activity.has_request();
                    self.head.came(&buffer.initialize_unfilled()[..read], has_request)?;
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(length) = ready!(self.poll_refuse(cx, bytes))? {
            return Poll::Ready(Ok(length));
        }
        self.try_write(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(length) = ready!(self.poll_refuse(cx, first.map_or(&[], |slice| slice)))? {
            return Poll::Ready(Ok(length));
        }
        self.try_write(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper has given all that it had. Where no request is left, all answers are written.
        if !self.activity.has_request() {
            self.written = self.activity.requests();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = [0; 16 << 10];
        if self.linger.is_none() {
            // A second descriptor of the same socket, for the moment of the call: tokio's own needs the stream for itself.
            let socket = std::net::TcpStream::from(self.stream.as_fd().try_clone_to_owned()?);
            match socket.shutdown(Shutdown::Write) {
                Err(error) if error.kind() != io::ErrorKind::NotConnected => return Poll::Ready(Err(error)),
                _ => {}
            }
            let is_sending = self.stream.try_read(&mut buffer).is_ok_and(|read| read > 0);
            if !is_sending && self.refusal.is_none() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some((Box::pin(tokio::time::sleep(LINGER)), 0));
        }
        let Self { stream, linger: Some((until, read)), .. } = &mut *self else { return Poll::Ready(Ok(())) };
        while *read < MAX_LINGER_BYTES && until.as_mut().poll(cx).is_pending() {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                break;
            }
            match stream.try_read(&mut buffer) {
                Ok(count) if count > 0 => *read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hyper_refuses_by_itself_has_a_document_too() {
        for (line, code) in [
            ("400 Bad Request", "malformed_request"),
            ("414 URI Too Long", "uri_too_long"),
            ("431 Request Header Fields Too Large", "headers_too_large"),
        ] {
            let refusal = format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n");
            let answer = with_document(refusal.as_bytes()).expect("a refusal");
            let (head, body) = std::str::from_utf8(&answer).unwrap().split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len())) && head.ends_with("date: x"),
                "{head}"
            );
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&problem["code"], problem["status"].to_string().as_str()), (&code.into(), &line[..3]));
        }
        for other in
            ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"]
        {
            assert_eq!(with_document(other.as_bytes()), None, "{other}");
        }
    }
}
