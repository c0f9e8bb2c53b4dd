//! relay.toml. docs/relay-toml.md lists every key.
//!
//! One pass over the file finds every fault, and says for each where it is and how to mend it. Unknown keys are faults: a
//! misspelt limit that is silently ignored is no limit. `${NAME}` inside any string is an environment variable; a secret may
//! also be `{ file = "path" }`, relative to the file that names it.

mod checks;
mod event_type;
pub(crate) mod kept;
mod limits;
mod login;
pub(crate) mod own_topics;
mod read;
mod reader;
mod secret;
#[cfg(test)]
mod tests;
mod urls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use event_type::EventType;
pub use limits::Limits;
pub use reader::Fault;
pub use secret::{PostgresUrl, Secret};

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The relay itself.
    pub relay: RelayConfig,
    /// What it logs.
    pub log: LogConfig,
    /// Where its traces go.
    pub telemetry: TelemetryConfig,
    /// Limits that hold for the relay, and for every service that has none of its own.
    pub limits: Limits,
    /// Redis.
    pub redis: RedisConfig,
    /// Kafka; absent where no service publishes or subscribes.
    pub kafka: Option<KafkaConfig>,
    /// The services, by name.
    pub services: BTreeMap<String, ServiceConfig>,
    /// What works, and is probably not meant.
    pub warnings: Vec<Fault>,
}

/// `[relay]`
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where services reach the relay.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub admin_listen: SocketAddr,
    /// This process among the relays, unique: `hostname-pid` unless told otherwise. Holds leases under this name.
    pub instance: String,
    /// How long a graceful stop may take before what is left is given up.
    pub shutdown_deadline: Duration,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines are written, as [`tracing_subscriber::EnvFilter`] reads it.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For a person at a terminal.
    Pretty,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The base URL of an OTLP collector over HTTP; traces are exported only where there is one.
    pub otlp_endpoint: Option<String>,
}

/// `[redis]`
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`
    pub url: Secret,
    /// What every key and channel of this installation starts with.
    pub prefix: String,
}

/// `[kafka]`
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port,host:port`
    pub brokers: String,
    /// What the consumer groups, transactional ids and the relay's own topics of this installation start with.
    pub prefix: String,
    /// The topics that the relay creates where they are missing.
    pub topics: BTreeMap<String, TopicConfig>,
    /// Further settings of librdkafka, such as `security.protocol` or `ssl.ca.location`.
    pub properties: BTreeMap<String, Secret>,
    /// Who the relay is for Kafka, for its own work and for services that have no login of their own. Absent where Kafka
    /// takes everybody, or `properties` say it.
    pub login: Option<KafkaLogin>,
    /// The group that clients name which read and join none.
    pub(crate) readers: String,
}

impl KafkaConfig {
    /// For the clients that work for this service: they log in as it does.
    #[must_use]
    pub fn of(&self, service: &ServiceConfig) -> Self {
        let login = service.kafka.clone().or_else(|| self.login.clone());
        Self { login, readers: format!("{}.{}", self.prefix, service.name), ..self.clone() }
    }
}

/// A user of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaLogin {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// `[kafka.topics.NAME]`
#[derive(Clone, Debug)]
pub struct TopicConfig {
    /// How many partitions it is created with.
    pub partitions: u32,
    /// How many brokers hold each.
    pub replication_factor: u16,
    /// Settings of the topic, such as `retention.ms`.
    pub settings: BTreeMap<String, String>,
}

impl TopicConfig {
    /// The largest batch that Kafka takes for it, in bytes, where relay.toml says it.
    pub(crate) fn max_message_bytes(&self) -> Option<usize> {
        self.settings.get("max.message.bytes")?.parse().ok()
    }
}

/// `[services.NAME]`: what one service may use.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Its name.
    pub name: String,
    /// What its components show to the relay.
    pub token: Secret,
    /// What they may show beside it, while the token is rotated.
    pub token_secondary: Option<Secret>,
    /// Its database; absent for a service that has none.
    pub postgres: Option<PostgresConfig>,
    /// `[services.NAME.kafka]`: who its clients are for Kafka; absent: who the relay is.
    pub kafka: Option<KafkaLogin>,
    /// The topics that it may publish to.
    pub publish: Vec<String>,
    /// Where the relay calls it; absent for a service that hears nothing.
    pub component: Option<ComponentConfig>,
    /// What it hears.
    pub subscriptions: Vec<SubscriptionConfig>,
    /// When it is called.
    pub timers: Vec<TimerConfig>,
    /// Its limits: those of the relay, but for what `[services.NAME.limits]` says.
    pub limits: Limits,
}

impl ServiceConfig {
    /// Whether a subscription names this topic.
    pub(crate) fn hears(&self, topic: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.topic == topic)
    }
}

/// `[services.NAME.postgres]`
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// What the service's own statements run as: a role that owns nothing.
    pub url: PostgresUrl,
    /// What the relay's background work runs as.
    pub relay_url: PostgresUrl,
    /// Only `migrate` reads it.
    pub admin_url: Option<PostgresUrl>,
    /// Where `replica` reads go.
    pub replica_url: Option<PostgresUrl>,
    /// The folder of the service's migrations; absolute, or relative to the working directory.
    pub migrations: Option<PathBuf>,
    /// Connections for the service's statements.
    pub pool_size: usize,
    /// Connections for the relay's background work.
    pub relay_pool_size: usize,
    /// Connections for reads from the replica.
    pub replica_pool_size: usize,
}

/// `[services.NAME.component]`
#[derive(Clone, Debug)]
pub struct ComponentConfig {
    /// The base that routes are appended to; no slash at its end.
    pub url: String,
    /// What the relay shows to the component, as a bearer token.
    pub token: Secret,
}

/// `[[services.NAME.subscriptions]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionConfig {
    /// The topic.
    pub topic: String,
    /// The types that are delivered; `None`: all. Others are skipped.
    pub types: Option<Vec<EventType>>,
    /// Appended to the component's URL.
    pub route: String,
}

impl SubscriptionConfig {
    /// Whether an event of this type is delivered.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|wanted| wanted.is(kind)))
    }
}

/// `[[services.NAME.timers]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerConfig {
    /// Unique within the service.
    pub name: String,
    /// How often it is due.
    pub every: Duration,
    /// Appended to the component's URL.
    pub route: String,
}

/// Why a configuration was refused: every fault that one pass found.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct Faults {
    /// The file, as it was named.
    pub file: String,
    /// What is wrong in it; never empty.
    pub faults: Vec<Fault>,
}

impl Faults {
    fn text(&self) -> String {
        let count = self.faults.len();
        let mut text = format!("{}: {count} fault{}", self.file, if count == 1 { "" } else { "s" });
        for fault in &self.faults {
            text.push_str("\n  ");
            text.push_str(&fault.to_string());
        }
        text
    }
}

/// Every key of relay.toml that the reader knows, as a path such as `services.alpha.token`.
#[cfg(test)]
pub(crate) fn keys() -> std::collections::BTreeSet<String> {
    read::keys(tests::WHOLE)
}

impl Config {
    /// Reads and checks a file, with variables from the process's environment.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn load(file: &Path) -> Result<Self, Faults> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| Faults {
            file: name.clone(),
            faults: vec![Fault::whole(format!("can't be read: {error}; name it with --config"))],
        })?;
        let directory = file.parent().unwrap_or(Path::new(""));
        Self::parse(&name, &text, directory, &|variable| std::env::var(variable).ok())
    }

    /// Checks a text. `directory` is what relative paths in it start from; `environment` looks a variable up.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(
        file: &str,
        text: &str,
        directory: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Faults> {
        read::config(text, directory, environment).map_err(|faults| Faults { file: file.to_owned(), faults })
    }
}
