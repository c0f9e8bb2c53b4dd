//! One connection through a proxy.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::shared::Shared;
use crate::{Fate, Protocol};

/// Connect timeout. A server that stands still takes no connection once its queue is full, and the kernel retries ever more
/// rarely: a longer wait would notice late that the server goes on.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the two directions of a connection share.
struct Line<P: Protocol> {
    shared: Arc<Shared<P>>,
    /// Locked while the server's answers must not reach the client.
    to_client: Mutex<OwnedWriteHalf>,
    /// Counts how often the server said something.
    heard: watch::Sender<u64>,
}

/// The connection ends at once: a fate says so, or it broke.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// How a connection ended.
pub(crate) enum End {
    /// The server is down: nobody listens there. The client still waits.
    Refused(TcpStream),
    /// In any other way.
    Other,
}

/// Connects to the server, and carries what client and server say to each other until both have said all, or it is
/// over. Both sides close when this returns.
pub(crate) async fn carry<P: Protocol>(shared: Arc<Shared<P>>, client: TcpStream) -> End {
    let mut open = shared.open.subscribe();
    let both = async move {
        let server = match timeout(CONNECT_TIMEOUT, TcpStream::connect(shared.server)).await {
            Ok(Ok(server)) => server,
            Ok(Err(_)) => return End::Refused(client),
            Err(_) => return End::Other,
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let line = Line { shared, to_client: Mutex::new(to_client), heard: watch::Sender::new(0) };
        let _ = tokio::try_join!(line.requests(from_client, to_server), line.answers(from_server));
        End::Other
    };
    tokio::select! {
        end = both => end,
        _ = open.wait_for(|open| !open) => End::Other,
    }
}

impl<P: Protocol> Line<P> {
    /// Carries what the server says, to its end.
    async fn answers(&self, mut from: OwnedReadHalf) -> Result<(), Over> {
        let mut buffer = BytesMut::with_capacity(1 << 14);
        loop {
            let read = from.read_buf(&mut buffer).await?;
            self.heard.send_modify(|heard| *heard += 1);
            let mut client = self.to_client.lock().await;
            if read == 0 {
                client.write_all(&buffer).await?;
                client.shutdown().await?;
                return Ok(());
            }
            let whole = P::answer(&mut buffer, self.shared.ports)?;
            client.write_all(&buffer.split_to(whole)).await?;
        }
    }

    /// Carries what the client says, request by request, to its end.
    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<(), Over> {
        let (mut buffer, mut state) = (BytesMut::with_capacity(1 << 14), P::State::default());
        loop {
            while let Some((length, request)) = P::request(&mut state, &buffer)? {
                let bytes = buffer.split_to(length).freeze();
                match self.shared.fate(&request) {
                    Fate::Ignored => return given_up(from).await,
                    fate => to = self.meet(fate, bytes, to).await?,
                }
            }
            if from.read_buf(&mut buffer).await? == 0 {
                // The server may still answer.
                to.write_all(&buffer).await?;
                to.shutdown().await?;
                return Ok(());
            }
        }
    }

    /// Lets a request meet its fate.
    async fn meet(&self, fate: Fate, request: Bytes, mut to: OwnedWriteHalf) -> Result<OwnedWriteHalf, Over> {
        match fate {
            Fate::Pass => to.write_all(&request).await?,
            Fate::Answered(answer) => self.to_client.lock().await.write_all(&answer).await?,
            Fate::Lost | Fate::Ignored => return Err(Over),
            Fate::LostUnnoticed => {
                self.shared.unnoticed.lock().unwrap_or_else(PoisonError::into_inner).push(to);
                return Err(Over);
            }
            Fate::Unanswered | Fate::UnansweredForGood => {
                let _silence = self.to_client.lock().await;
                to.write_all(&request).await?;
                // An orderly end lets the server work off what it got; a reset could overtake the request.
                to.shutdown().await?;
                if fate == Fate::UnansweredForGood {
                    self.shared.open.send_replace(false);
                }
                return Err(Over);
            }
            Fate::AnswerLost => {
                let _silence = self.to_client.lock().await;
                let mut heard = self.heard.subscribe();
                to.write_all(&request).await?;
                let _ = heard.changed().await;
                return Err(Over);
            }
        }
        Ok(to)
    }
}

/// Waits until a client that gets no answer goes away.
async fn given_up(mut client: OwnedReadHalf) -> Result<(), Over> {
    let mut more = [0; 1024];
    while client.read(&mut more).await? > 0 {}
    Err(Over)
}
