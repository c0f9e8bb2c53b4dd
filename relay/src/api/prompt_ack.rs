//! A connection whose data are acknowledged at once. Spin sends the head and the body of a request apart and with Nagle's
//! algorithm on, so the body leaves when the head is acknowledged; and the kernel waits some 40 ms with that, hoping to send the
//! acknowledgement with an answer that can't exist yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The connection.
#[derive(Debug)]
pub(super) struct PromptAck(TcpStream);

impl PromptAck {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for PromptAck {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() > before {
            // Linux takes the option back whenever it likes, so it is set again after each read (tcp(7)). Setting it also sends
            // the acknowledgement of what was read. Without it everything is only slower.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.0, true);
        }
        read
    }
}

impl AsyncWrite for PromptAck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What Linux waits at least with an acknowledgement that it delays.
    const DELAYED_ACK: Duration = Duration::from_millis(40);
    const REQUESTS: usize = 31;

    /// Answers each request of 100 + 100 bytes with one of 100.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = [0; 200];
        while stream.read_exact(&mut request).await.is_ok() {
            stream.write_all(&request[..100]).await.expect("the client reads");
        }
    }

    /// The median time of a request that is sent in these pieces, by a client with Nagle's algorithm.
    async fn median(pieces: &[usize]) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("the client connects");
            let _ = stream.set_nodelay(true);
            answer(PromptAck::new(stream)).await;
        });
        let mut client = TcpStream::connect(address).await.expect("the listener is there");
        client.set_nodelay(false).expect("Nagle's algorithm");
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            let began = Instant::now();
            for piece in pieces {
                client.write_all(&vec![b'a'; *piece]).await.expect("the server reads");
            }
            client.read_exact(&mut [0; 100]).await.expect("an answer");
            times.push(began.elapsed());
        }
        drop(client);
        serving.await.expect("it ends with the connection");
        times.sort_unstable();
        times[REQUESTS / 2]
    }

    /// Measured against requests in one piece of the same run: a busy machine slows both down.
    #[tokio::test]
    async fn a_request_in_two_pieces_does_not_wait_for_a_delayed_acknowledgement() {
        let (whole, apart) = (median(&[200]).await, median(&[100, 100]).await);
        assert!(apart < 3 * whole + DELAYED_ACK / 2, "in one piece {whole:?}, in two {apart:?}");
    }
}
