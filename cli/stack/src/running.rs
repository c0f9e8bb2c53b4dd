//! A running stack as other programs see it: addresses and secrets. It holds no connection, so it can be read while
//! parts of the stack are down.
use std::path::PathBuf;

use anyhow::Result;

use crate::home::Home;
use crate::kafka::Kafka;
use crate::ports::{self, Ports};
use crate::replica;
use crate::secrets::Secrets;
use crate::state::{Servers, State};

/// One part of a running stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As `status` prints it, `postgres-order` for example.
    pub name: String,
    /// The process, where one runs.
    pub pid: Option<u32>,
    /// `ready`, `starting`, `restarting`, `stopping` or `stopped`.
    pub state: String,
    /// Where it listens, as `127.0.0.1:5434`.
    pub address: String,
}

/// A stack whose supervisor runs.
#[derive(Debug)]
pub struct Running {
    /// The public address; empty for a stack that was started with `--no-host`.
    pub url: String,
    /// The public addresses of all pairs of relay and host, the first first; empty without a host.
    pub urls: Vec<String>,
    /// All parts in the order in which they are started.
    pub parts: Vec<Part>,
    /// Kafka, as its super user.
    pub kafka: Kafka,
    /// The relay's API, as `http://127.0.0.1:7070`.
    pub relay: String,
    /// Where the host takes the relay's deliveries, as `127.0.0.1:3100`.
    pub deliveries: String,
    /// The relay's health and metrics, as `http://127.0.0.1:7071`.
    pub relay_admin: String,
    /// The same of all pairs, the first first.
    pub relay_admins: Vec<String>,
    ports: Ports,
    secrets: Secrets,
    kafka_jars: Option<PathBuf>,
}

impl Running {
    /// The stack that runs under this home.
    ///
    /// # Errors
    /// Where none runs there, or what it wrote can't be read.
    pub fn of(home: &Home) -> Result<Self> {
        let state = State::running(home)?;
        let secrets = Secrets::load(home)?;
        let kafka = Kafka { address: kafka_address(&state)?, password: secrets.kafka_admin().to_owned() };
        let admin = |pair| anyhow::Ok(format!("http://{}", state.ports.address(&replica::named("relay-admin", pair))?));
        let parts = state.parts.iter().map(|part| Part {
            name: part.name.clone(),
            pid: part.process.as_ref().map(|process| process.pid),
            state: part.state.word().to_owned(),
            address: part.address.clone(),
        });
        Ok(Self {
            url: state.urls.first().cloned().unwrap_or_default(),
            urls: state.urls.clone(),
            parts: parts.collect(),
            kafka,
            relay: format!("http://{}", state.ports.address("relay")?),
            deliveries: state.ports.deliveries(1)?,
            relay_admin: admin(1)?,
            relay_admins: (1..).map_while(|pair| admin(pair).ok()).collect(),
            secrets,
            kafka_jars: state.kafka_jars,
            ports: state.ports,
        })
    }

    /// The superuser's URL to the database of a service of relay.toml.
    #[must_use]
    pub fn postgres_admin_url(&self, service: &str) -> String {
        let port = self.ports.get(&ports::database(service)).unwrap_or_default();
        format!("postgres://postgres:{}@127.0.0.1:{port}/{service}", self.secrets.postgres(service))
    }

    /// Redis, with its password.
    #[must_use]
    pub fn redis_url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.secrets.redis(), self.ports.get("redis").unwrap_or_default())
    }

    /// What a service's component shows to the relay.
    #[must_use]
    pub fn service_token(&self, service: &str) -> String {
        self.secrets.token(service).to_owned()
    }

    /// The folder of Kafka's jars, for its own tools; none where Kafka runs in a container.
    #[must_use]
    pub fn kafka_class_path(&self) -> Option<PathBuf> {
        self.kafka_jars.clone()
    }
}

/// A container tells clients its own name on the INTERNAL listener; from outside, EXTERNAL is the one that works.
fn kafka_address(state: &State) -> Result<String> {
    state.ports.address(match state.servers {
        Servers::Native => "kafka",
        Servers::Compose => "kafka-external",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Identity;
    use crate::testing::{TempDir, example, part, services};

    #[test]
    fn a_running_stack_tells_its_addresses() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        let secrets = Secrets::load_or_create(&home, &services()).unwrap();
        let me = Identity::of_this_process().unwrap();
        let mut state = example(me.clone(), vec![part("relay", Some(me.clone()))]);
        state.ports = Ports::defaults(&services(), 2);
        state.save(&home).unwrap();

        let running = Running::of(&home).unwrap();
        assert_eq!(running.url, "http://127.0.0.1:3000");
        assert_eq!(running.kafka.address, "127.0.0.1:9092");
        assert!(!format!("{running:?}").contains(secrets.kafka_admin()), "no password is shown");
        assert_eq!(running.urls, ["http://127.0.0.1:3000"]);
        assert_eq!(running.relay_admin, "http://127.0.0.1:7071");
        assert_eq!(running.relay_admins, ["http://127.0.0.1:7071", "http://127.0.0.1:7073"]);
        assert_eq!(running.service_token("gateway"), secrets.token("gateway"));
        let url = format!("postgres://postgres:{}@127.0.0.1:5434/order", secrets.postgres("order"));
        assert_eq!(running.postgres_admin_url("order"), url);
        assert_eq!(running.parts[0].pid, Some(me.pid));
        assert_eq!(running.parts[0].state, "ready");
    }

    #[test]
    fn where_none_runs_one_line_says_so() {
        let folder = TempDir::new();
        let error = Running::of(&Home::resolve(Some(folder.path())).unwrap()).unwrap_err().to_string();
        assert!(error.contains("no stack runs under") && !error.contains('\n'), "{error}");
    }
}
