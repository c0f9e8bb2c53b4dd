//! A replica takes the place of Redis: the address leads to it from then on, and connections that are there lead to what was
//! the master.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use towpath_relay::Service;
use towpath_relay::redis::cache::Lookup;
use towpath_wire::{QueryCache, QueryRequest, QueryResponse};

use crate::redis_server::RedisServer;
use crate::support::{ServiceSetup, Setup, TestRelay, eventually};

/// An address that leads to one server, and later to another. Connections stay where they are.
struct Address {
    url: String,
    leads_to: watch::Sender<SocketAddr>,
}

impl Address {
    async fn of(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let leads_to = watch::Sender::new(server.address());
        let target = leads_to.subscribe();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = *target.borrow();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { url, leads_to }
    }

    fn moves_to(&self, server: &RedisServer) {
        self.leads_to.send_replace(server.address());
    }
}

/// A master and its replica, and a relay that knows them by one address.
async fn pair() -> (RedisServer, RedisServer, Address, Setup, TestRelay) {
    let (master, replica) = (RedisServer::start().await, RedisServer::start().await);
    replica.follows(&master).await;
    let address = Address::of(&master).await;
    let setup = Setup::new().redis(&address.url).service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    (master, replica, address, setup, relay)
}

fn tagged() -> (QueryRequest, QueryCache) {
    let cache = QueryCache { ttl_ms: 600_000, tags: vec!["t".into()] };
    (QueryRequest { sql: "SELECT 1".into(), ..QueryRequest::default() }, cache)
}

/// Keeps an answer, and waits until the replica has it too.
async fn keep(alpha: &Service, replica: &RedisServer) {
    let (request, cache) = tagged();
    let fill = eventually("Redis answers", async || match alpha.cache.find_query(&request, &cache).await {
        Ok(Lookup::Miss(fill)) => Ok(fill),
        other => Err(format!("{other:?}")),
    })
    .await;
    fill.store(&alpha.cache, &QueryResponse::default()).await;
    assert!(matches!(alpha.cache.find_query(&request, &cache).await, Ok(Lookup::Hit(_))));
    eventually("the replica has it", async || match replica.keys().await {
        // The value, and the version of its tag.
        2 => Ok(()),
        keys => Err(keys),
    })
    .await;
}

async fn is_gone(alpha: &Arc<Service>) {
    let (request, cache) = tagged();
    eventually("the old answer is gone", async || match alpha.cache.find_query(&request, &cache).await {
        Ok(Lookup::Miss(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn what_is_invalidated_after_a_failover_is_gone_and_calls_go_on() {
    let (master, replica, address, _setup, relay) = pair().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    keep(&alpha, &replica).await;
    replica.leads().await;
    master.follows(&replica).await;
    address.moves_to(&replica);
    alpha.cache.invalidate(&["t".into()]).await;
    is_gone(&alpha).await;
    let said = relay.call("alpha", "PUT", "/v1/cache/k", json!({"value": 1, "ttl_ms": 60_000})).await;
    assert_eq!(said.status, 204, "{said:?}");
    assert!(relay.stop().await);
}

/// A master answers before its replicas have a command: one that fails right then takes the last ones with it.
#[tokio::test]
async fn what_was_invalidated_just_before_a_failover_is_gone_after_it() {
    let (mut master, replica, address, _setup, relay) = pair().await;
    let alpha = relay.running.relay.services["alpha"].clone();
    keep(&alpha, &replica).await;
    // From here on the replica hears nothing of its master.
    replica.leads().await;
    alpha.cache.invalidate(&["t".into()]).await;
    is_gone(&alpha).await;
    address.moves_to(&replica);
    master.kill();
    is_gone(&alpha).await;
    assert!(relay.stop().await);
}
