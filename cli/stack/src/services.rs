//! The services of the application. relay.toml and spin.toml name them, and nothing else does: databases, ports, secrets,
//! environments and builds derive from here.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;
use toml::Spanned;

use crate::checkout;
use crate::toml_file;

/// The services of relay.toml and the components of spin.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    services: Vec<Service>,
    topics: Vec<String>,
    group_prefix: String,
    kafka_user: Option<String>,
    components: Vec<Component>,
    variables: Vec<String>,
}

/// A service of relay.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    name: String,
    has_database: bool,
    has_component: bool,
    kafka_user: Option<String>,
    subscriptions: Vec<String>,
}

/// A consumer group: there is one for each service that subscribes to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// As Kafka knows it.
    pub id: String,
    /// The topics that it subscribes to.
    pub topics: Vec<String>,
}

/// A component of spin.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// As spin.toml names it.
    pub name: String,
    /// The file that is run, relative to spin.toml.
    pub source: PathBuf,
    /// The cargo package that its build command builds; none where it has no such command.
    pub package: Option<String>,
    /// What builds it, for a shell in [`Self::folder`].
    pub build: Option<String>,
    /// Where the build command runs, relative to spin.toml.
    pub folder: PathBuf,
}

impl Services {
    /// Reads spin.toml of the application, and the relay.toml that the stack uses ([`checkout::relay_config`]).
    ///
    /// # Errors
    /// Where one of them can't be read.
    pub fn load() -> Result<Self> {
        let application = checkout::application()?;
        Self::read(Path::new(&checkout::relay_config(&application)), &application.join("spin.toml"))
    }

    /// Reads these files.
    ///
    /// # Errors
    /// Where one of them can't be read.
    pub fn read(relay_toml: &Path, spin_toml: &Path) -> Result<Self> {
        let relay: RelayToml = toml_file::read(relay_toml)?;
        let spin: SpinToml = toml_file::read(spin_toml)?;
        // A table has no order of its own: the keys' places in the file tell it.
        let mut services: Vec<(Spanned<String>, ServiceToml)> = relay.services.into_iter().collect();
        services.sort_by_key(|(name, _)| name.span().start);
        let services = services.into_iter().map(|(name, service)| Service {
            name: name.into_inner(),
            has_database: service.postgres.is_some(),
            has_component: service.component.is_some(),
            kafka_user: service.kafka.map(|login| login.user),
            subscriptions: service.subscriptions.into_iter().map(|subscription| subscription.topic).collect(),
        });
        let components = spin.component.into_iter().map(|(name, component)| {
            let build = component.build.unwrap_or_default();
            let package = build.command.as_deref().and_then(package);
            Component { name, source: component.source, package, build: build.command, folder: build.workdir }
        });
        Ok(Self {
            services: services.collect(),
            topics: relay.kafka.topics.into_keys().collect(),
            group_prefix: relay.kafka.prefix.unwrap_or_else(|| "towpath".to_owned()),
            kafka_user: relay.kafka.user,
            components: components.collect(),
            variables: spin.variables.into_keys().collect(),
        })
    }

    /// All services in the order of relay.toml. Each shows the relay a token.
    pub fn callers(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.name.as_str())
    }

    /// The services with a database, in the order of relay.toml.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter(|service| service.has_database).map(|service| service.name.as_str())
    }

    /// The services to whose components the relay delivers events, and shows a delivery token.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter(|service| service.has_component).map(|service| service.name.as_str())
    }

    /// Who the relay is for Kafka; none where relay.toml has nobody log in.
    #[must_use]
    pub fn kafka_user(&self) -> Option<&str> {
        self.kafka_user.as_deref()
    }

    /// The services that have a user of their own in Kafka, each with its user.
    pub fn kafka_users(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.iter().filter_map(|service| Some((service.name.as_str(), service.kafka_user.as_deref()?)))
    }

    /// The topics of events.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The consumer groups.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let subscribing = self.services.iter().filter(|service| !service.subscriptions.is_empty());
        subscribing
            .map(|service| Group {
                id: format!("{}.{}", self.group_prefix, service.name),
                topics: service.subscriptions.clone(),
            })
            .collect()
    }

    /// The components of spin.toml.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The cargo packages of the components.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.components.iter().filter_map(|component| component.package.as_deref())
    }

    /// All variables that spin.toml declares, as the environment has them.
    pub fn spin_variables(&self) -> impl Iterator<Item = String> {
        self.variables.iter().map(|name| spin_variable(name))
    }
}

/// How Spin and the host find a variable of spin.toml in the environment.
pub(crate) fn spin_variable(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", environment_name(name))
}

/// A service's name as a part of a variable's name.
#[must_use]
pub fn environment_name(service: &str) -> String {
    service.to_uppercase().replace('-', "_")
}

/// The package that `cargo build ... -p PACKAGE` builds.
fn package(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    words.find(|word| matches!(*word, "-p" | "--package"))?;
    words.next().map(str::to_owned)
}

/// The part of relay.toml that says which services there are. `towpath-relay check` checks all of it.
#[derive(Debug, Deserialize)]
struct RelayToml {
    #[serde(default)]
    kafka: KafkaToml,
    #[serde(default)]
    services: BTreeMap<Spanned<String>, ServiceToml>,
}

#[derive(Debug, Default, Deserialize)]
struct KafkaToml {
    prefix: Option<String>,
    user: Option<String>,
    #[serde(default)]
    topics: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
struct ServiceToml {
    postgres: Option<toml::Value>,
    component: Option<toml::Value>,
    kafka: Option<LoginToml>,
    #[serde(default)]
    subscriptions: Vec<SubscriptionToml>,
}

#[derive(Debug, Deserialize)]
struct LoginToml {
    user: String,
}

#[derive(Debug, Deserialize)]
struct SubscriptionToml {
    topic: String,
}

#[derive(Debug, Deserialize)]
struct SpinToml {
    #[serde(default)]
    variables: BTreeMap<String, toml::Value>,
    #[serde(default)]
    component: BTreeMap<String, ComponentToml>,
}

#[derive(Debug, Deserialize)]
struct ComponentToml {
    source: PathBuf,
    build: Option<BuildToml>,
}

#[derive(Debug, Default, Deserialize)]
struct BuildToml {
    command: Option<String>,
    #[serde(default)]
    workdir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, TempDir};

    #[test]
    fn the_checkout_has_its_services_in_the_order_of_the_documented_ports() {
        let services = testing::services();
        let callers: Vec<&str> = services.callers().collect();
        assert_eq!(callers, ["gateway", "product", "order", "payment", "inventory"]);
        assert_eq!(services.databases().collect::<Vec<_>>(), callers[1..]);
        assert_eq!(services.receivers().collect::<Vec<_>>(), callers[2..]);
        assert_eq!(services.topics().len(), 4);
        assert_eq!(services.kafka_user(), Some("relay"));
        let users: Vec<(&str, &str)> = services.kafka_users().collect();
        let own = callers[1..].iter().map(|service| (*service, *service));
        assert_eq!(users, own.collect::<Vec<_>>(), "each service with events has a user of its own");
        let packages: Vec<&str> = services.packages().collect();
        assert_eq!(packages.len(), services.components().len());
        assert!(packages.contains(&"towpath-gateway"));
    }

    #[test]
    fn groups_are_named_by_prefix_and_service() {
        let groups = testing::services().groups();
        let ids: Vec<&str> = groups.iter().map(|group| group.id.as_str()).collect();
        assert_eq!(ids, ["towpath.order", "towpath.payment", "towpath.inventory"]);
        assert_eq!(groups[1].topics, ["inventory.events", "order.events"]);
    }

    #[test]
    fn another_application_has_other_services() {
        let folder = TempDir::new();
        let (relay, spin) = (folder.path().join("relay.toml"), folder.path().join("spin.toml"));
        std::fs::write(&relay, "[services.zebra]\ntoken = \"${Z}\"\n[services.ant.postgres]\nurl = \"${A}\"\n")
            .unwrap();
        std::fs::write(&spin, "[variables]\na_b = { required = true }\n[component.ant]\nsource = \"ant.wasm\"\n")
            .unwrap();
        let services = Services::read(&relay, &spin).unwrap();
        assert_eq!(services.callers().collect::<Vec<_>>(), ["zebra", "ant"]);
        assert_eq!(services.databases().collect::<Vec<_>>(), ["ant"]);
        assert_eq!((services.receivers().count(), services.packages().count()), (0, 0));
        assert_eq!(services.spin_variables().collect::<Vec<_>>(), ["SPIN_VARIABLE_A_B"]);
        std::fs::write(&relay, "services = 7\n").unwrap();
        let error = format!("{:#}", Services::read(&relay, &spin).unwrap_err());
        assert!(error.ends_with("relay.toml, line 1: services must be a table, not a number"), "{error}");
    }

    #[test]
    fn the_package_is_what_cargo_is_told() {
        assert_eq!(package("cargo build --target wasm32-wasip2 -p towpath-order").as_deref(), Some("towpath-order"));
        assert_eq!(package("npm run build"), None);
    }
}
