//! Looks at dependencies. A look that takes too long is dropped, and the next one begins anew.

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::component;
use crate::kafka;
use crate::postgres::Eye as Session;

/// Looks at one dependency.
pub(super) trait Look: Send {
    /// Whether it works now, or why not. The cause holds no secret.
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<()>>;
}

/// The database of a service, as both roles see it.
pub(super) struct Databases {
    pub(super) service: Session,
    pub(super) relay: Session,
}

impl Look for Databases {
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async {
            let (service, relay) = tokio::join!(self.service.look(), self.relay.look());
            match (service.context("the service's role"), relay.context("the relay's role")) {
                (Err(service), Err(relay)) => Err(anyhow::anyhow!("{service:#}; {relay:#}")),
                (service, relay) => service.and(relay),
            }
        }
        .boxed()
    }
}

impl Look for Session {
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        Session::look(self).boxed()
    }
}

/// The address of a component.
pub(super) struct Components {
    pub(super) url: String,
}

impl Look for Components {
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        async { component::reach(&self.url).await.map_err(anyhow::Error::msg) }.boxed()
    }
}

impl Look for kafka::Eye {
    fn look(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        kafka::Eye::look(self).boxed()
    }
}
