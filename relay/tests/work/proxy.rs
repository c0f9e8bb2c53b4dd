//! A line to PostgreSQL that a test can cut at the worst moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the next COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It passes.
    Nothing,
    /// The server gets it; its answer and both sides of the line are lost.
    Answer,
    /// It never reaches the server, and both sides of the line are cut.
    Commit,
    /// It never reaches the server, which isn't told that the line is cut.
    CommitUnnoticed,
    /// The server gets it; the answer is lost, and from then on nobody reaches the server.
    AnswerForGood,
}

/// A proxy before PostgreSQL.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    next: Arc<watch::Sender<Cut>>,
    shut: Arc<AtomicBool>,
    pub(crate) cuts: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let url = reqwest::Url::parse(server).expect("a URL");
        let server: SocketAddr = format!("127.0.0.1:{}", url.port().unwrap_or(5432)).parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (next, _) = watch::channel(Cut::Nothing);
        let proxy = Self { port, next: Arc::new(next), shut: Arc::default(), cuts: Arc::default() };
        let (next, shut, cuts) = (Arc::clone(&proxy.next), Arc::clone(&proxy.shut), Arc::clone(&proxy.cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shut.load(Ordering::SeqCst) {
                    continue;
                }
                let line = Line { next: Arc::clone(&next), shut: Arc::clone(&shut), cuts: Arc::clone(&cuts) };
                tokio::spawn(line.carry(client, server));
            }
        });
        proxy
    }

    /// The same URL by way of the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).expect("a URL");
        url.set_port(Some(self.port)).expect("a port");
        url.into()
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.next.send_replace(cut);
    }
}

struct Line {
    next: Arc<watch::Sender<Cut>>,
    shut: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Line {
    async fn carry(self, client: TcpStream, server: SocketAddr) {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let back = tokio::spawn(copy(from_server, to_client));
        if let Some(server) = self.forward(from_client, to_server, &back).await {
            // The server's side stays open, as if a cable had been pulled.
            std::future::pending::<()>().await;
            drop(server);
        }
        back.abort();
    }

    /// Answers the server's side where it must stay open.
    async fn forward(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
        back: &tokio::task::JoinHandle<()>,
    ) -> Option<OwnedWriteHalf> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = client.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            let bytes = &buffer[..read];
            let is_commit = bytes.windows(7).any(|window| window == b"COMMIT\0");
            let cut = if is_commit { self.next.send_replace(Cut::Nothing) } else { Cut::Nothing };
            if cut != Cut::Nothing {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                back.abort();
            }
            match cut {
                Cut::Nothing => server.write_all(bytes).await.ok()?,
                Cut::Commit => return None,
                Cut::CommitUnnoticed => return Some(server),
                Cut::Answer | Cut::AnswerForGood => {
                    self.shut.store(cut == Cut::AnswerForGood, Ordering::SeqCst);
                    server.write_all(bytes).await.ok()?;
                    // An orderly end lets the server work off what it got; a reset could overtake the COMMIT.
                    let _ = server.shutdown().await;
                    return None;
                }
            }
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}
