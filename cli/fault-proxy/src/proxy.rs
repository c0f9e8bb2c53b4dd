//! The proxy: its listener, whether connections get through, and the rule that picks fates.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::line::{End, carry};
use crate::shared::Shared;
use crate::{Fate, Ports, Protocol};

/// How often a server that is down is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A proxy on a port of this machine, before one server. All its connections end when it is dropped.
pub struct Proxy<P: Protocol> {
    shared: Arc<Shared<P>>,
    listener: JoinHandle<()>,
}

impl<P: Protocol> Proxy<P> {
    /// Listens on a free port of 127.0.0.1. `server` is `host:port`; it needn't be up yet.
    ///
    /// # Errors
    /// Where the server has no address, or no port is free.
    pub async fn before(server: &str) -> io::Result<Self> {
        let address = lookup_host(server).await?.next();
        let server = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{server} is nowhere")))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let shared = Arc::new(Shared {
            server,
            ports: Ports { proxy: listener.local_addr()?.port(), server: server.port() },
            open: watch::Sender::new(true),
            unnoticed: Mutex::default(),
            rule: Mutex::default(),
            struck: watch::Sender::new(0),
        });
        let listener = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self { shared, listener })
    }

    /// Where clients connect to: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.shared.ports.proxy)
    }

    /// A URL of the server, by way of the proxy.
    #[must_use]
    pub fn instead_of(&self, url: &str) -> String {
        url.replacen(&self.shared.server.to_string(), &self.address(), 1)
    }

    /// Cuts all connections, and takes no new ones.
    pub fn shut(&self) {
        self.shared.open.send_replace(false);
    }

    /// Lets clients through again.
    pub fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// From now on this decides what becomes of each request, on all connections. Clients wait while it does.
    pub fn rule(&self, rule: impl FnMut(&P::Request) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// From now on every request passes. What is ignored stays so.
    pub fn pass(&self) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Of the requests that `which` picks, `skip` pass, the next one meets this fate, and from then on all pass.
    pub fn once(&self, skip: usize, fate: Fate, mut which: impl FnMut(&P::Request) -> bool + Send + 'static) {
        let mut left = Some(skip);
        self.rule(move |request| match left {
            Some(0) if which(request) => {
                left = None;
                fate.clone()
            }
            Some(skip) if skip > 0 && which(request) => {
                left = Some(skip - 1);
                Fate::Pass
            }
            _ => Fate::Pass,
        });
    }

    /// How many requests so far met another fate than to pass.
    #[must_use]
    pub fn struck(&self) -> usize {
        *self.shared.struck.borrow()
    }

    /// Waits until so many requests, all in all, met another fate than to pass.
    pub async fn until_struck(&self, count: usize) {
        // The sender lives as long as this proxy.
        let _ = self.shared.struck.subscribe().wait_for(|struck| *struck >= count).await;
    }
}

impl<P: Protocol> std::fmt::Debug for Proxy<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({} -> {})", self.address(), self.shared.server)
    }
}

impl<P: Protocol> Drop for Proxy<P> {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen<P: Protocol>(mut listener: TcpListener, shared: Arc<Shared<P>>) {
    let mut lines = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if *shared.open.borrow() => {
                    lines.spawn(carry(Arc::clone(&shared), client));
                }
                // A shut proxy closes the connection; so does one whose client has gone already.
                _ => tokio::task::yield_now().await,
            },
            // Clients of a server that is down are refused, and so are those of its proxy from here on: when this one
            // sees its end, nobody listens any longer.
            Some(end) = lines.join_next() => if let Ok(End::Refused(client)) = end {
                drop((listener, client));
                let mut again = pin!(again(&shared));
                listener = loop {
                    tokio::select! {
                        listener = &mut again => break listener,
                        // Close the connections that came together with this one.
                        Some(_) = lines.join_next() => {}
                    }
                };
            }
        }
    }
}

/// Listens on the same port again, once the server is there.
async fn again<P: Protocol>(shared: &Shared<P>) -> TcpListener {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if TcpStream::connect(shared.server).await.is_ok()
            && let Ok(listener) = TcpListener::bind(("127.0.0.1", shared.ports.proxy)).await
        {
            return listener;
        }
    }
}
