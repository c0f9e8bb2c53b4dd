//! The supervisor's end.
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Answer, Request, socket};
use crate::home::Home;
use crate::supervisor::Handle;

/// No request is longer.
const LONGEST_REQUEST: u64 = 4096;

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
        let ask = Arc::new(ask);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (parts, ask) = (parts.clone(), Arc::clone(&ask));
                tokio::spawn(async move {
                    // Who hangs up before the answer doesn't want it.
                    let _ = serve(stream, &parts, &ask).await;
                });
            }
        });
        Ok(Self { listener, down, path })
    }

    /// Waits until somebody asks for the end.
    pub(crate) async fn asked_to_stop(&self) {
        if self.down.clone().wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Takes no more requests.
    pub(crate) fn close(&self) {
        self.listener.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, parts: &[Handle], down: &watch::Sender<bool>) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LONGEST_REQUEST)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => carry_out(request, parts, down).await,
        Err(error) => Answer::Failed(format!("not a request: {error}")),
    };
    let mut line = serde_json::to_string(&answer)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    Ok(())
}

async fn carry_out(request: Request, parts: &[Handle], down: &watch::Sender<bool>) -> Answer {
    let (part, stop, start) = match &request {
        Request::Down => {
            down.send_replace(true);
            return Answer::Done("stopping".to_owned());
        }
        Request::Stop { part } => (part, true, false),
        Request::Start { part } => (part, false, true),
        Request::Restart { part } => (part, true, true),
    };
    let Some(handle) = parts.iter().find(|handle| handle.name() == part) else {
        let names: Vec<&str> = parts.iter().map(Handle::name).collect();
        return Answer::Failed(format!("no part is called {part}: the parts are {}", names.join(", ")));
    };
    let began = Instant::now();
    if stop {
        handle.stop().await;
    }
    if !start {
        return Answer::Done(format!("{part} is stopped (`towpath start {part}` starts it)"));
    }
    match handle.start().await {
        Ok(()) => Answer::Done(format!("{part} is ready after {:.1} s", began.elapsed().as_secs_f64())),
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}
