//! What the proxy and its connections share.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

use crate::{Fate, Ports, Protocol};

type Rule<P> = Box<dyn FnMut(&<P as Protocol>::Request) -> Fate + Send>;

/// What all connections of a proxy have in common.
pub(crate) struct Shared<P: Protocol> {
    pub(crate) server: SocketAddr,
    pub(crate) ports: Ports,
    /// Whether connections get through.
    pub(crate) open: watch::Sender<bool>,
    /// Connections to the server that it takes for alive.
    pub(crate) unnoticed: Mutex<Vec<OwnedWriteHalf>>,
    pub(crate) rule: Mutex<Option<Rule<P>>>,
    pub(crate) struck: watch::Sender<usize>,
}

impl<P: Protocol> Shared<P> {
    /// What becomes of this request.
    pub(crate) fn fate(&self, request: &P::Request) -> Fate {
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let fate = rule.as_mut().map_or(Fate::Pass, |rule| rule(request));
        if fate != Fate::Pass {
            self.struck.send_modify(|struck| *struck += 1);
        }
        fate
    }
}
