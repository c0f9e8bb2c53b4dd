//! The connections between the parts of a running stack, each through a fault proxy.
//!
//! A run begins with a detour: the supervisor restarts hosts and relays with the proxies' addresses in place of their
//! neighbours'. It ends the detour at its end; if the run dies, the supervisor ends it. Every replica has lines of its own to its neighbour; the databases and Kafka have one line each, for
//! all relays.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::sync::Mutex;
use towpath_fault_proxy::{Http, Kafka, Postgres, Protocol, Proxy};
use towpath_stack::control::{Detour, Environments, detour};
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::replica;
use towpath_stack::running::Running;
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::state::State;
use towpath_stack::surroundings::Surroundings;

use super::service::Service;

/// All lines of a stack.
#[derive(Debug)]
pub(crate) struct Lines {
    /// From each host to its relay.
    pub(crate) relays: Vec<Proxy<Http>>,
    /// From each relay to its host.
    pub(crate) components: Vec<Proxy<Http>>,
    /// From all relays to the database of a service.
    pub(crate) postgres: BTreeMap<Service, Proxy<Postgres>>,
    /// From all relays to Kafka.
    pub(crate) kafka: Proxy<Kafka>,
    /// Until it has ended.
    detour: Mutex<Option<Detour>>,
}

impl Lines {
    /// Puts a proxy into every line, and returns once all parts are ready again.
    ///
    /// # Errors
    /// Where a part doesn't get ready behind its proxies; the supervisor has ended the detour then.
    pub(crate) async fn open(home: &Home, services: &Services, replicas: usize) -> Result<Self> {
        let state = State::current(home)?.context("the stack has stopped")?;
        let secrets = Secrets::load(home)?;
        let around = Surroundings { ports: &state.ports, services, secrets: &secrets, servers: state.servers };
        let (mut relays, mut components) = (Vec::new(), Vec::new());
        let (mut postgres, mut environments) = (BTreeMap::new(), Environments::new());
        let kafka = before(&Running::of(home)?.kafka.address).await?;
        for service in Service::ALL {
            let address = state.ports.address(&ports::database(service.name()))?;
            postgres.insert(service, before(&address).await?);
        }
        for pair in 1..=replicas {
            let (host, relay) = (replica::named("host", pair), replica::named("relay", pair));
            let to_relay: Proxy<Http> = before(&state.ports.address(&relay)?).await?;
            let to_host: Proxy<Http> = before(&state.ports.deliveries(pair)?).await?;
            environments.insert(host, diverted(&around.spin(pair)?, |url| to_relay.instead_of(url)));
            let servers = |url: &str| {
                let url = postgres.values().fold(to_host.instead_of(url), |url, line| line.instead_of(&url));
                kafka.instead_of(&url)
            };
            environments.insert(relay, diverted(&around.relay(pair, false)?, servers));
            relays.push(to_relay);
            components.push(to_host);
        }
        let detour = detour(home, environments).await.context("cannot put proxies between the parts")?;
        Ok(Self { relays, components, postgres, kafka, detour: Mutex::new(Some(detour)) })
    }

    /// Ends the detour, and returns once all parts are ready without them.
    pub(crate) async fn close(&self) -> Result<()> {
        match self.detour.lock().await.take() {
            Some(detour) => detour.end().await.context("cannot take the proxies out of the stack"),
            None => Ok(()),
        }
    }
}

async fn before<P: Protocol>(server: &str) -> Result<Proxy<P>> {
    Proxy::before(server).await.with_context(|| format!("cannot put a proxy before {server}"))
}

/// The variables that name a neighbour, with the names that lead to it by way of a proxy.
fn diverted(variables: &BTreeMap<String, String>, way: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    // Where it listens itself is where others must find it.
    let named = variables.iter().filter(|(name, _)| !name.ends_with("_LISTEN"));
    let ways = named.map(|(name, value)| (name.clone(), way(value)));
    ways.filter(|(name, way)| variables[name] != *way).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_neighbour_is_diverted() {
        let variables = BTreeMap::from(
            [
                ("A_LISTEN", "127.0.0.1:1"),
                ("B", "http://127.0.0.1:1/path"),
                ("C", "127.0.0.1:2"),
                ("D", "postgres://u:127.0.0.1:3@127.0.0.1:4/d"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let diverted = diverted(&variables, |value| value.replace("127.0.0.1:1", "127.0.0.1:9"));
        assert_eq!(diverted, BTreeMap::from([("B".to_owned(), "http://127.0.0.1:9/path".to_owned())]));
    }
}
