//! The client that holds a detour.
use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, Environments, Request, UNHEARD, socket_of_running};
use crate::home::Home;

/// Holds the detour. Where it is dropped, or its process dies, the supervisor takes the detour away by itself.
#[derive(Debug)]
pub struct Detour {
    connection: BufReader<UnixStream>,
}

/// Has the supervisor of this home start these parts again with these variables over their own, and returns once all
/// are ready.
pub async fn detour(home: &Home, environment: Environments) -> Result<Detour> {
    let (_folder, path) = socket_of_running(home)?;
    let mut stream = UnixStream::connect(path).await.context(UNHEARD)?;
    stream.write_all(Request::Detour { environment }.line()?.as_bytes()).await?;
    let mut detour = Detour { connection: BufReader::new(stream) };
    detour.answer().await?;
    Ok(detour)
}

impl Detour {
    /// Takes the detour away, and returns once the parts are ready without it.
    pub async fn end(mut self) -> Result<()> {
        self.connection.get_mut().shutdown().await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<()> {
        let mut line = String::new();
        self.connection.read_line(&mut line).await?;
        Answer::parse(&line)?.outcome().map(drop)
    }
}
