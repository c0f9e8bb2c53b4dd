//! The parts of a whole stack, and the tasks between their starts (migrating, seeding).
use std::path::Path;

use anyhow::{Context, Result};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::ports::{self, Ports};
use towpath_stack::programs;
use towpath_stack::replica;
use towpath_stack::services::Services;
use towpath_stack::state::{Phase, Servers, State};
use towpath_stack::surroundings::Surroundings;

use crate::edge::{self, Runtime, kafka_users};
use crate::seed;
use crate::servers::kafka_jars::Jars;
use crate::servers::{Place, compose, kafka, postgres, redis};
use crate::supervisor::spec::{PartSpec, Task};
use crate::supervisor::{Plan, this_supervisor};

/// What was chosen on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) servers: Servers,
    /// What runs spin.toml; none with `--no-host`.
    pub(crate) runtime: Option<Runtime>,
    /// How many pairs of relay and host.
    pub(crate) replicas: usize,
    pub(crate) throw_away: bool,
}

impl Choice {
    /// The ports that its parts listen on.
    pub(crate) fn ports(&self, services: &Services) -> Vec<String> {
        let all = ports::usual(services, self.replicas).map(|(name, _)| name);
        // The controller of a container stays inside of it; without a host its port is for Spin.
        all.filter(|name| name != "kafka-controller" || self.servers == Servers::Native)
            .filter(|name| name != "host" || self.runtime.is_some())
            .filter(|name| !name.starts_with(ports::DELIVERIES) || self.runtime == Some(Runtime::Embedded))
            .collect()
    }

    /// The public addresses, one per host.
    pub(crate) fn urls(&self, ports: &Ports) -> Result<Vec<String>> {
        let hosts = if self.runtime.is_some() { self.replicas } else { 0 };
        (1..=hosts).map(|pair| Ok(format!("http://{}", ports.address(&replica::named("host", pair))?))).collect()
    }
}

/// The whole stack.
pub(crate) fn stack(
    home: &Home,
    root: &Path,
    choice: Choice,
    surroundings: &Surroundings<'_>,
    jars: Option<&Jars>,
) -> Result<Plan> {
    let mut parts = servers(home, root, choice, surroundings, jars)?;
    let mut tasks = vec![edge::migrate_task(home, surroundings)?, kafka_users::task(surroundings)?];
    for pair in 1..=choice.replicas {
        let mut relay = edge::relay(home, pair, surroundings)?;
        // A relay that comes first finds no components, and says so.
        relay.after.extend(choice.runtime.map(|_| replica::named("host", pair)));
        parts.push(relay);
    }
    let urls = choice.urls(surroundings.ports)?;
    if let Some(runtime) = choice.runtime {
        for pair in 1..=choice.replicas {
            parts.push(edge::host(home, runtime, pair, surroundings)?);
        }
        if !checkout::works_for_another()? {
            tasks.extend(urls.first().map(|url| seed_task(home, url)));
        }
    }
    let state = State {
        phase: Phase::Starting,
        supervisor: this_supervisor()?,
        urls,
        servers: choice.servers,
        runtime: choice.runtime.map(|runtime| runtime.word().to_owned()),
        kafka_jars: jars.map(|jars| jars.folder.clone()),
        dot_env: None,
        parts: Vec::new(),
        ports: surroundings.ports.clone(),
    };
    Ok(Plan { parts, tasks, state })
}

fn servers(
    home: &Home,
    root: &Path,
    choice: Choice,
    surroundings: &Surroundings<'_>,
    jars: Option<&Jars>,
) -> Result<Vec<PartSpec>> {
    if choice.servers == Servers::Compose {
        return compose::Project::new(home, &root.join("infra")).parts(surroundings);
    }
    let Surroundings { ports, services, secrets, .. } = *surroundings;
    let place = Place { home: home.clone(), native: root.join("infra/native"), throw_away: choice.throw_away };
    let mut parts = Vec::new();
    for service in services.databases() {
        let name = ports::database(service);
        let port = ports.get(&name)?;
        let password = secrets.postgres(service).to_owned();
        let server = postgres::Server { place: place.clone(), name, port, password, max_connections: None };
        parts.push(server.part()?);
    }
    let jars = jars.context("Kafka's jars are not there")?;
    parts.push(kafka::part(&place, ports, secrets.kafka_admin(), jars, &programs::java()?)?);
    parts.push(redis::part(&place, ports.get("redis")?, secrets.redis())?);
    Ok(parts)
}

fn seed_task(home: &Home, url: &str) -> Task {
    let (url, done) = (url.to_owned(), home.seeded_file());
    Task {
        name: "seed".to_owned(),
        after: vec!["relay".to_owned(), "host".to_owned()],
        work: Box::pin(async move { seed::seed(&url, done).await.context("the catalogue could not be seeded") }),
    }
}
