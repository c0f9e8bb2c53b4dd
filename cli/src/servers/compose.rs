//! The servers as containers: `docker compose up NAME`, attached, is the part's process. So the supervisor treats them
//! like any other child: their output is the part's log, and a container that dies is started again. `docker compose stop`
//! stops it, and with it the process.
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::home::{Home, write_atomically};
use towpath_stack::ports;
use towpath_stack::programs::in_path;
use towpath_stack::services::environment_name;
use towpath_stack::state::StopSignal;
use towpath_stack::surroundings::Surroundings;

use crate::group;
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};

/// The compose project of one home.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    home: Home,
    /// What every `docker` command of this project begins with.
    arguments: Vec<String>,
}

impl Project {
    pub(crate) fn new(home: &Home, infra: &Path) -> Self {
        let file = infra.join("compose/compose.yaml").display().to_string();
        let variables = variables_file(home).display().to_string();
        let name = project_name(home);
        let arguments = ["compose", "--project-name", &name, "--file", &file, "--env-file", &variables];
        Self { home: home.clone(), arguments: arguments.map(ToOwned::to_owned).to_vec() }
    }

    /// Fails with instructions where Docker is missing, and makes the containers' network and volumes.
    pub(crate) async fn prepare(&self, surroundings: &Surroundings<'_>) -> Result<()> {
        if in_path("docker").is_none() {
            bail!("`docker` is not installed: install Docker, or leave out --servers compose");
        }
        let no_plugin =
            "`docker compose` doesn't work: install Docker's compose plugin, or leave out --servers compose";
        docker(&["compose", "version"]).await.context(no_plugin)?;
        let no_engine = "Docker's engine doesn't answer: start it, or leave out --servers compose";
        docker(&["info", "--format", "{{.ServerVersion}}"]).await.context(no_engine)?;
        write_atomically(&variables_file(&self.home), &variables(surroundings)?, 0o600)?;
        let mut create: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        create.extend(["create", "--quiet-pull"]);
        docker(&create).await.context("the containers could not be made")
    }

    /// All servers as parts.
    pub(crate) fn parts(&self, surroundings: &Surroundings<'_>) -> Result<Vec<PartSpec>> {
        let Surroundings { ports, services, secrets, .. } = *surroundings;
        let mut parts = Vec::new();
        for service in services.databases() {
            let name = ports::database(service);
            let address = ports.address(&name)?;
            let url = format!("postgres://postgres:{}@{address}/postgres", secrets.postgres(service));
            parts.push(self.part(&name, address, Probe::Postgres { url, lock: None }));
        }
        let kafka = surroundings.kafka()?;
        parts.push(self.part("kafka", kafka.address.clone(), Probe::Kafka(kafka)));
        let redis = ports.address("redis")?;
        let password = secrets.redis().to_owned();
        parts.push(self.part("redis", redis.clone(), Probe::Redis { address: redis, password }));
        Ok(parts)
    }

    fn part(&self, name: &str, address: String, probe: Probe) -> PartSpec {
        PartSpec {
            name: name.to_owned(),
            address,
            tier: Tier::Server,
            after: Vec::new(),
            prepare: None,
            // Docker's client before version 25 keeps signals from its plugin, and the container would go on.
            launch: self
                .docker(&["up", "--no-deps", "--no-color", "--no-log-prefix", name])
                .stopped_by(self.docker(&["stop", name])),
            variables: None,
            probe,
            ready_deadline: Duration::from_secs(180),
            stop_signal: StopSignal::Terminate,
            stop_gently: None,
            stop_deadline: Duration::from_secs(40),
            log: self.home.log(name),
        }
    }

    fn docker(&self, arguments: &[&str]) -> Launch {
        Launch::new("docker").args(self.arguments.clone()).args(arguments)
    }

    /// Removes containers, network and volumes: the data.
    pub(crate) async fn remove(&self) -> Result<()> {
        let mut down: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        down.extend(["down", "--volumes"]);
        docker(&down).await.context("the containers and volumes could not be removed")
    }
}

/// Whether containers were ever made for this home.
pub(crate) fn was_used(home: &Home) -> bool {
    variables_file(home).exists()
}

fn variables_file(home: &Home) -> PathBuf {
    home.run().join("compose.env")
}

/// One project per home, since its volumes are the home's data.
fn project_name(home: &Home) -> String {
    let fallback = super::postgres::fallback(home);
    format!("towpath-{}", fallback.file_name().unwrap_or_default().to_string_lossy())
}

/// What compose.yaml leaves open.
fn variables(surroundings: &Surroundings<'_>) -> Result<String> {
    let Surroundings { ports, services, secrets, .. } = *surroundings;
    let mut text = String::new();
    for service in services.databases() {
        let upper = environment_name(service);
        text.push_str(&format!("POSTGRES_{upper}_PASSWORD={}\n", secrets.postgres(service)));
        text.push_str(&format!("POSTGRES_{upper}_PORT={}\n", ports.get(&ports::database(service))?));
    }
    text.push_str(&format!("REDIS_PASSWORD={}\nREDIS_PORT={}\n", secrets.redis(), ports.get("redis")?));
    text.push_str(&format!("KAFKA_ADMIN_PASSWORD={}\n", secrets.kafka_admin()));
    text.push_str(&format!("KAFKA_EXTERNAL_PORT={}\n", ports.get("kafka-external")?));
    text.push_str(&format!("KAFKA_INTERNAL_PORT={}\n", ports.get("kafka")?));
    Ok(text)
}

async fn docker(arguments: &[&str]) -> Result<()> {
    let mut docker = Command::new("docker");
    docker.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = group::output(&mut docker).await?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}", text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use towpath_stack::ports::Ports;
    use towpath_stack::secrets::Secrets;
    use towpath_stack::state::Servers;
    use towpath_stack::testing::{TempDir, root, services};

    use super::*;

    fn with_project(check: impl FnOnce(&Project, &Surroundings<'_>, &str)) {
        let folder = TempDir::new();
        let (home, services) = (folder.home(), services());
        let (ports, secrets) = (Ports::defaults(&services, 1), Secrets::load_or_create(&home, &services).unwrap());
        let servers = Servers::Compose;
        let surroundings = Surroundings { ports: &ports, services: &services, secrets: &secrets, servers };
        let infra = root().join("infra");
        let file = std::fs::read_to_string(infra.join("compose/compose.yaml")).unwrap();
        check(&Project::new(&home, &infra), &surroundings, &file);
    }

    /// Every variable that compose.yaml asks for is given, and none is given that it doesn't know.
    #[test]
    fn compose_file_and_variables_agree() {
        with_project(|_, surroundings, file| {
            let given = variables(surroundings).unwrap();
            let file: String = file.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let asked: std::collections::BTreeSet<&str> =
                file.split("${").skip(1).filter_map(|rest| rest.split([':', '}', '?', '-']).next()).collect();
            let given: std::collections::BTreeSet<&str> =
                given.lines().filter_map(|line| line.split('=').next()).collect();
            assert_eq!(asked, given, "infra/compose/compose.yaml asks, relay.toml's services and `up` give");
        });
    }

    #[test]
    fn services_of_the_compose_file_are_the_parts() {
        with_project(|project, surroundings, file| {
            let parts = project.parts(surroundings).unwrap();
            assert_eq!(parts.len(), towpath_stack::testing::services().databases().count() + 2);
            for part in parts {
                assert!(
                    file.contains(&format!("\n  {}:\n", part.name)),
                    "{} is no service of infra/compose/compose.yaml",
                    part.name
                );
            }
        });
    }
}
