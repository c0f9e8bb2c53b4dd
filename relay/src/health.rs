//! Health: whether what requests and events will use works, looked at once for everybody who asks.
//!
//! One task per dependency looks every two seconds, over a connection of its own, and within a deadline. What it has seen stands on
//! the [`Board`]; `/readyz` reads it there. So a probe costs the same whether one or a thousand come at once: it takes no
//! connection of a pool, and makes none to Kafka, Redis or a component.
//!
//! | dependency | what is looked at |
//! |---|---|
//! | `postgres.S` | the service's role and the relay's role log in, and have the grants and tables that units of work need; the server has room, where it said to somebody that it has none |
//! | `replica.S` | the service's role logs in at the replica |
//! | `component.S` | the component's address takes connections; for a service with subscriptions or timers |
//! | `kafka` | a broker answers a client that logs in with `[kafka.properties]` |
//! | `topic.T` | Kafka doesn't refuse to create it; written by [`crate::kafka::topics`], only while it does |
//!
//! A dependency that stops working is logged once with its cause, and once more when it works again.

mod look;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::failure::told;
use crate::kafka;
use crate::panics::caught;
use crate::postgres::{Database, Eye as Session};
use crate::relay::Relay;
use crate::service::Service;

use look::{Components, Databases, Look};

/// Between two looks at a dependency.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long one look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);

/// One task for each dependency. Each looks until it is told to stop.
pub(crate) fn watchers(relay: &Arc<Relay>, stop: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
    let mut tasks = Vec::new();
    let mut add = |name: String, look: Box<dyn Look>| {
        relay.health.expect(&name);
        let (relay, stop) = (Arc::clone(relay), stop.clone());
        let watching = async move { watch(&relay.health, name, look).await };
        tasks.push(stop.run_until_cancelled_owned(watching).map(|_| ()).boxed());
    };
    for service in relay.services.values() {
        add_service(service, &mut add);
    }
    if let Some(kafka) = &relay.config.kafka {
        add("kafka".to_owned(), Box::new(kafka::Eye::new(kafka)));
    }
    tasks
}

fn add_service(service: &Service, add: &mut impl FnMut(String, Box<dyn Look>)) {
    let name = &service.name;
    if let Ok(Database { app, relay, replica }) = service.database() {
        let databases = Databases { service: Session::of_service(app), relay: Session::of_relay(relay) };
        add(format!("postgres.{name}"), Box::new(databases));
        if let Some(replica) = replica {
            add(format!("replica.{name}"), Box::new(Session::of_replica(replica)));
        }
    }
    let is_called = !service.config.subscriptions.is_empty() || !service.config.timers.is_empty();
    if let Some(component) = service.config.component.as_ref().filter(|_| is_called) {
        add(format!("component.{name}"), Box::new(Components { url: component.url.clone() }));
    }
}

async fn watch(board: &Board, name: String, mut look: Box<dyn Look>) {
    loop {
        let seen = match tokio::time::timeout(LOOK_DEADLINE, caught(look.look())).await {
            Ok(Ok(seen)) => seen.map_err(|cause| told(&cause)),
            Ok(Err(panic)) => Err(panic),
            Err(_) => Err(format!("no answer within {LOOK_DEADLINE:?}")),
        };
        board.note(&name, seen);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
