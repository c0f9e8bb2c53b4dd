//! The control socket: other commands ask the supervisor here ([`towpath_stack::control`] is their end).
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use towpath_stack::control::{Answer, Environments, MAX_REQUEST_BYTES, Request, WORKING_EVERY, socket};
use towpath_stack::home::Home;

use super::detour::{Detour, DetourSlot};
use super::part::Handle;

/// Listens as long as the supervisor runs.
pub(crate) struct Server {
    listener: JoinHandle<()>,
    down: watch::Receiver<bool>,
    path: PathBuf,
}

impl Server {
    /// Opens the socket. A socket file of an earlier supervisor is replaced: the caller holds the home's lock.
    pub(crate) fn listen(home: &Home, parts: Vec<Handle>) -> Result<Self> {
        let path = home.run().join("control.sock");
        let _ = std::fs::remove_file(&path);
        let (_folder, short) = socket(home)?;
        let listener = UnixListener::bind(&short).with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (ask, down) = watch::channel(false);
        let desk = Arc::new(Desk { parts, down: ask, detour: DetourSlot::default() });
        let listener = tokio::spawn(async move {
            // They go with this task: nothing is asked of a supervisor that stops.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        let desk = Arc::clone(&desk);
                        connections.spawn(async move { desk.serve(stream).await });
                    }
                    // A client that closes before the answer doesn't want it.
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { listener, down, path })
    }

    /// Waits for a `Down` request.
    pub(crate) async fn asked_to_stop(&self) {
        if self.down.clone().wait_for(|asked| *asked).await.is_err() {
            // No request can come any more.
            std::future::pending::<()>().await;
        }
    }

    /// Takes no more requests.
    pub(crate) fn close(&self) {
        self.listener.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What requests are about.
struct Desk {
    parts: Vec<Handle>,
    down: watch::Sender<bool>,
    detour: DetourSlot,
}

impl Desk {
    async fn serve(&self, stream: UnixStream) -> Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut read = BufReader::new(read.take(MAX_REQUEST_BYTES));
        read.read_line(&mut line).await?;
        match serde_json::from_str(&line) {
            Ok(Request::Down) => {
                // Before it is done, for it ends this connection too.
                answer(&mut write, Ok("stopping".to_owned())).await?;
                self.down.send_replace(true);
                Ok(())
            }
            Ok(Request::Detour { environment }) => {
                self.divert(environment, read.into_inner().into_inner(), &mut write).await
            }
            Ok(Request::Stop { part }) => self.at_work(&part, self.restart(&part, true, false), &mut write).await,
            Ok(Request::Start { part }) => self.at_work(&part, self.restart(&part, false, true), &mut write).await,
            Ok(Request::Restart { part }) => self.at_work(&part, self.restart(&part, true, true), &mut write).await,
            Err(error) => answer(&mut write, Err(anyhow!("not a request: {error}"))).await,
        }
    }

    /// The detour lasts until the client closes its end of the connection.
    async fn divert(
        &self,
        environments: Environments,
        mut read: OwnedReadHalf,
        write: &mut OwnedWriteHalf,
    ) -> Result<()> {
        let detour = match Detour::begin(&self.parts, &self.detour, environments).await {
            Ok(detour) => detour,
            Err(error) => return answer(write, Err(error)).await,
        };
        if answer(write, Ok("the detour holds".to_owned())).await.is_ok() {
            let _ = read.read(&mut [0]).await;
        }
        let ended = detour.end().await;
        answer(write, ended.map(|()| "the detour is gone".to_owned())).await
    }

    /// Answers once the work is done, and says until then how far the part is.
    async fn at_work(
        &self,
        part: &str,
        work: impl Future<Output = Result<String>>,
        write: &mut OwnedWriteHalf,
    ) -> Result<()> {
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = sleep(WORKING_EVERY) => {}
            }
            if let Ok(handle) = Handle::find(&self.parts, part) {
                // A client that has gone doesn't end the work: a part that is stopped is started again.
                let _ = send(write, &Answer::Working(handle.how_far())).await;
            }
        };
        answer(write, done).await
    }

    async fn restart(&self, part: &str, stop: bool, start: bool) -> Result<String> {
        let handle = Handle::find(&self.parts, part)?;
        let began = Instant::now();
        if stop {
            handle.stop().await;
        }
        if !start {
            return Ok(format!("{part} is stopped (`towpath start {part}` starts it)"));
        }
        handle.start().await?;
        Ok(format!("{part} is ready after {:.1} s", began.elapsed().as_secs_f64()))
    }
}

async fn answer(write: &mut OwnedWriteHalf, result: Result<String>) -> Result<()> {
    let answer = match result {
        Ok(text) => Answer::Done(text),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    send(write, &answer).await
}

async fn send(write: &mut OwnedWriteHalf, answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    Ok(())
}
