//! From sections to [`Config`], with the checks that span several keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::own_topics::is_topic_name;
use super::reader::{Fault, Reader, Section};
use super::urls::{is_address, is_http_url, is_route};
use super::{
    ComponentConfig, Config, EventType, KafkaConfig, Limits, LogConfig, LogFormat, PostgresConfig, PostgresUrl,
    RedisConfig, RelayConfig, Secret, ServiceConfig, SubscriptionConfig, TelemetryConfig, TimerConfig, TopicConfig,
};
use super::{checks, login};

/// Shorter tokens could be guessed.
const MIN_TOKEN_BYTES: usize = 16;
const DAY_MS: u64 = 86_400_000;

pub(super) fn config(
    text: &str,
    directory: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<Fault>> {
    let reader = Reader::new(text, directory, environment);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let line = error.span().map(|span| reader.line_at(span.start));
        reader.fault(line, "", format!("is not TOML: {}", error.message()));
    }
    if !syntax.is_empty() {
        // What stands after a syntax error may belong elsewhere: its faults would be noise.
        return Err(reader.into_found().0);
    }
    let config = whole(Section::root(&reader, table.get_ref()));
    let (faults, warnings) = reader.into_found();
    if faults.is_empty() { Ok(Config { warnings, ..config }) } else { Err(faults) }
}

/// Every key that the reader asks a text for, as a path. For the test of docs/relay-toml.md.
#[cfg(test)]
pub(super) fn keys(text: &str) -> std::collections::BTreeSet<String> {
    let reader = Reader::new(text, Path::new(""), &|_| Some("0123456789abcdef".into()));
    let (table, _) = DeTable::parse_recoverable(text);
    let _ = whole(Section::root(&reader, table.get_ref()));
    reader.asked.into_inner()
}

fn whole(root: Section<'_, '_>) -> Config {
    let reader = root.reader();
    let limits = limits(&root, &Limits::default());
    let kafka = kafka(&root);
    let mut services = BTreeMap::new();
    for (name, section) in root.named_sections("services") {
        if !is_service_name(&name) {
            section.fault_here("a service's name is 1 to 40 of a-z, 0-9 and -, and begins with a letter");
        }
        services.insert(name.clone(), service(name, section, &limits, kafka.as_ref()));
    }
    if services.is_empty() {
        root.fault("services", "names no service; for example [services.hello] with a token");
    }
    check_tokens_differ(&root, &services);
    let (relay, log, telemetry, redis) = (relay(&root), log(&root), telemetry(&root), redis(&root));
    root.finish();
    let config = Config { relay, log, telemetry, limits, redis, kafka, services, warnings: Vec::new() };
    checks::check(reader, &config);
    config
}

fn limits(parent: &Section<'_, '_>, base: &Limits) -> Limits {
    let section = parent.section("limits");
    let limits = Limits::read(&section, base);
    if limits.statement_timeout_ms > limits.transaction_timeout_ms {
        section.fault(
            "statement_timeout_ms",
            "is longer than transaction_timeout_ms; a statement can't outlast its unit of work",
        );
    }
    if limits.delivery_backoff_ms > limits.delivery_backoff_max_ms {
        section.fault("delivery_backoff_ms", "is longer than delivery_backoff_max_ms");
    }
    checks::limits(&section, &limits);
    section.finish();
    limits
}

fn relay(root: &Section<'_, '_>) -> RelayConfig {
    let section = root.section("relay");
    let address = "an address and a port, such as 127.0.0.1:7070";
    let config = RelayConfig {
        listen: section.parsed("listen", ([127, 0, 0, 1], 7070).into(), address),
        admin_listen: section.parsed("admin_listen", ([127, 0, 0, 1], 7071).into(), address),
        instance: section.text("instance").unwrap_or_else(default_instance),
        shutdown_deadline: Duration::from_millis(section.integer("shutdown_deadline_ms", 10_000, 0..=600_000)),
    };
    if config.instance.is_empty() || config.instance.len() > 200 {
        section.fault("instance", "must have 1 to 200 bytes; leave it out to get hostname-pid");
    }
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        section.fault("admin_listen", "is the same as listen; health and metrics need a port of their own");
    }
    section.finish();
    config
}

fn default_instance() -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hostname = match hostname.trim() {
        "" => "relay",
        name => name,
    };
    format!("{hostname}-{}", std::process::id())
}

fn log(root: &Section<'_, '_>) -> LogConfig {
    let section = root.section("log");
    let format = match section.text("format").as_deref() {
        None | Some("json") => LogFormat::Json,
        Some("pretty") => LogFormat::Pretty,
        Some(_) => {
            section.fault("format", "must be \"json\" or \"pretty\"");
            LogFormat::Json
        }
    };
    let filter = section.text("filter").unwrap_or_else(|| "info".into());
    if let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>() {
        section.fault("filter", format!("is not a filter such as \"info\" or \"info,towpath_relay=debug\": {error}"));
    }
    section.finish();
    LogConfig { format, filter }
}

fn telemetry(root: &Section<'_, '_>) -> TelemetryConfig {
    let section = root.section("telemetry");
    let otlp_endpoint = section
        .text("otlp_endpoint")
        .or_else(|| root.reader().environment("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .filter(|endpoint| !endpoint.is_empty())
        .map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    if otlp_endpoint.as_deref().is_some_and(|url| !is_http_url(url)) {
        section.fault("otlp_endpoint", "must be http://host:port, a collector that takes OTLP over HTTP");
    }
    section.finish();
    TelemetryConfig { otlp_endpoint }
}

fn redis(root: &Section<'_, '_>) -> RedisConfig {
    let section = root.section("redis");
    let url = section.required_secret("url", "\"redis://127.0.0.1:6379\"");
    if !url.expose().is_empty() && ::redis::Client::open(url.expose()).is_err() {
        section.fault("url", "must be redis://[user:password@]host:port[/db]");
    }
    let prefix = section.text("prefix").unwrap_or_else(|| "towpath".into());
    if prefix.is_empty() || prefix.len() > 64 || prefix.bytes().any(|b| b.is_ascii_whitespace() || b == b':') {
        section.fault("prefix", "must have 1 to 64 bytes, without spaces and colons");
    }
    section.finish();
    RedisConfig { url, prefix }
}

fn kafka(root: &Section<'_, '_>) -> Option<KafkaConfig> {
    let section = root.section("kafka");
    if !section.is_present() {
        return None;
    }
    let brokers = section.required("brokers", "\"127.0.0.1:29092\"");
    if !brokers.is_empty() && !brokers.split(',').all(|broker| is_address(broker.trim())) {
        section.fault("brokers", "must be host:port,host:port");
    }
    let prefix = section.text("prefix").unwrap_or_else(|| "towpath".into());
    if !is_topic_name(&prefix) || prefix.len() > 64 {
        section.fault("prefix", "must have 1 to 64 of a-z, A-Z, 0-9, ., _ and -");
    }
    let mut topics = BTreeMap::new();
    for (name, topic) in section.named_sections("topics") {
        if !is_topic_name(&name) {
            topic.fault_here("a topic's name is 1 to 200 of a-z, A-Z, 0-9, ., _ and -");
        }
        let config = TopicConfig {
            partitions: topic.required_integer("partitions", 8, 1..=10_000) as u32,
            replication_factor: topic.required_integer("replication_factor", 1, 1..=100) as u16,
            settings: topic.map("settings", Section::text),
        };
        checks::topic(&topic.section("settings"), &config);
        topic.finish();
        topics.insert(name, config);
    }
    let properties = section.map("properties", Section::secret);
    checks::properties(&section.section("properties"), &properties);
    let login = login::of(&section);
    if login.is_some() {
        checks::properties_beside_a_login(&section.section("properties"), &properties);
    }
    section.finish();
    let readers = format!("{prefix}.dlq");
    Some(KafkaConfig { brokers, prefix, topics, properties, login, readers })
}

fn service(name: String, section: Section<'_, '_>, base: &Limits, kafka: Option<&KafkaConfig>) -> ServiceConfig {
    let (token, token_secondary) = (token(&section), token_secondary(&section));
    let postgres = postgres(&section);
    let login = login::of_service(&section, kafka);
    let publish = publish(&section, kafka);
    if !publish.is_empty() && !section.has("postgres") {
        section.fault("publish", "needs [services.….postgres]: events are published out of the service's database");
    }
    let component = component(&section);
    let subscriptions = subscriptions(&section, kafka);
    let timers = timers(&section);
    let is_called = !subscriptions.is_empty() || !timers.is_empty();
    if is_called && !section.has("component") {
        section.fault("component", "is missing: subscriptions and timers need the url and token of the component");
    }
    if !timers.is_empty() && !section.has("postgres") {
        section.fault("timers", "need [services.….postgres]: it keeps which relay calls them");
    }
    if component.is_some() && !is_called {
        section.warning("component", "is never called: the service has no subscription and no timer");
    }
    checks::limits_of_a_service(&section.section("limits"));
    let limits = limits(&section, base);
    section.finish();
    ServiceConfig {
        name,
        token,
        token_secondary,
        postgres,
        kafka: login,
        publish,
        component,
        subscriptions,
        timers,
        limits,
    }
}

fn token(section: &Section<'_, '_>) -> Secret {
    let token = section.required_secret("token", "\"${TOWPATH_TOKEN_X}\"");
    check_token(section, "token", &token);
    token
}

fn token_secondary(section: &Section<'_, '_>) -> Option<Secret> {
    let token = section.optional_secret("token_secondary")?;
    check_token(section, "token_secondary", &token);
    Some(token)
}

fn check_token(section: &Section<'_, '_>, key: &str, token: &Secret) {
    let length = token.expose().len();
    if (1..MIN_TOKEN_BYTES).contains(&length) {
        section.fault(key, format!("has {length} bytes; take {MIN_TOKEN_BYTES} or more, from a random generator"));
    }
    if !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
        section.fault(key, "may hold only visible ASCII, as it travels in a header");
    }
}

fn check_tokens_differ(root: &Section<'_, '_>, services: &BTreeMap<String, ServiceConfig>) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in services {
        let secondary = service.token_secondary.as_ref().map(|token| ("token_secondary", token.expose()));
        let tokens = [("token", service.token.expose())].into_iter().chain(secondary);
        for (key, token) in tokens.filter(|(_, token)| !token.is_empty()) {
            if let Some(other) = owners.insert(token, name).filter(|other| other != name) {
                let path = format!("services.{name}.{key}");
                let message = format!(
                    "is also the token of {other}; the token decides which service calls, so each needs its own"
                );
                root.reader().fault(None, path, message);
            }
        }
    }
}

fn postgres(parent: &Section<'_, '_>) -> Option<PostgresConfig> {
    let section = parent.section("postgres");
    if !section.is_present() {
        return None;
    }
    let example = "\"postgres://user:password@127.0.0.1:5432/database\"";
    let url = postgres_url(&section, "url", Some(section.required_secret("url", example)));
    let relay_url = postgres_url(&section, "relay_url", Some(section.required_secret("relay_url", example)));
    let admin_url = postgres_url(&section, "admin_url", section.optional_secret("admin_url"));
    let replica_url = postgres_url(&section, "replica_url", section.secret("replica_url"));
    let migrations = section.text("migrations").map(|path| section.reader().directory().join(path));
    let pool_size = section.integer("pool_size", 16, 1..=10_000) as usize;
    let relay_pool_size = section.integer("relay_pool_size", 6, 2..=10_000) as usize;
    let replica_pool_size = section.integer("replica_pool_size", 16, 1..=10_000) as usize;
    if let (Some(url), Some(relay_url)) = (&url, &relay_url)
        && url.user() == relay_url.user()
    {
        section.fault("relay_url", "has the role of url; the service's role must not reach the relay's own tables");
    }
    section.finish();
    Some(PostgresConfig {
        url: url?,
        relay_url: relay_url?,
        admin_url,
        replica_url,
        migrations,
        pool_size,
        relay_pool_size,
        replica_pool_size,
    })
}

fn postgres_url(section: &Section<'_, '_>, key: &str, secret: Option<Secret>) -> Option<PostgresUrl> {
    let secret = secret.filter(|secret| !secret.expose().is_empty())?;
    match secret.expose().parse() {
        Ok(url) => Some(url),
        Err(message) => {
            section.fault(key, message);
            None
        }
    }
}

fn publish(parent: &Section<'_, '_>, kafka: Option<&KafkaConfig>) -> Vec<String> {
    let section = parent.section("publish");
    let topics = section.texts("topics").unwrap_or_default();
    for (index, topic) in topics.iter().enumerate() {
        check_topic(&section, "topics", topic, kafka);
        if topics[..index].contains(topic) {
            section.fault("topics", format!("names {topic:?} twice"));
        }
    }
    section.finish();
    topics
}

fn check_topic(section: &Section<'_, '_>, key: &str, topic: &str, kafka: Option<&KafkaConfig>) {
    match kafka {
        None => section.fault(key, "needs [kafka] with brokers"),
        Some(kafka) if !kafka.topics.contains_key(topic) => section.fault(
            key,
            format!("{topic:?} is not declared; add [kafka.topics.{topic:?}] with partitions and replication_factor"),
        ),
        Some(_) => {}
    }
}

fn component(parent: &Section<'_, '_>) -> Option<ComponentConfig> {
    let section = parent.section("component");
    if !section.is_present() {
        return None;
    }
    let url = section.required("url", "\"http://127.0.0.1:3000/_relay/name\"").trim_end_matches('/').to_owned();
    if !url.is_empty() && !is_http_url(&url) {
        section.fault("url", "must be http://host:port/path, without a user, a query and a fragment; the relay stands beside its components");
    }
    let token = token(&section);
    section.finish();
    Some(ComponentConfig { url, token })
}

fn subscriptions(parent: &Section<'_, '_>, kafka: Option<&KafkaConfig>) -> Vec<SubscriptionConfig> {
    let mut subscriptions: Vec<SubscriptionConfig> = Vec::new();
    for section in parent.sections("subscriptions") {
        let topic = section.required("topic", "\"things.events\"");
        if !topic.is_empty() {
            check_topic(&section, "topic", &topic, kafka);
        }
        let subscription = SubscriptionConfig { topic, types: types(&section), route: route(&section) };
        if let Some(kind) = subscriptions.iter().find_map(|other| overlap(other, &subscription)) {
            section.fault_here(format!("{kind} of this topic has a route already; an event goes to one route"));
        }
        section.finish();
        subscriptions.push(subscription);
    }
    subscriptions
}

/// Every fault of them, and those that have none.
fn types(section: &Section<'_, '_>) -> Option<Vec<EventType>> {
    let texts = section.texts("types")?;
    if texts.is_empty() {
        section.fault("types", "is empty, so nothing would be delivered; leave it out to get all");
    }
    let mut types: Vec<EventType> = Vec::new();
    for text in texts {
        match EventType::parse(&text) {
            Err(fault) => section.fault("types", fault),
            Ok(kind) => {
                if let Some(other) = types.iter().find(|other| other.overlaps(&kind)) {
                    section.fault(
                        "types",
                        format!("holds {:?} and {text:?}, which mean the same type", other.to_string()),
                    );
                }
                types.push(kind);
            }
        }
    }
    Some(types)
}

/// What both subscriptions would get.
fn overlap(a: &SubscriptionConfig, b: &SubscriptionConfig) -> Option<String> {
    if a.topic != b.topic {
        return None;
    }
    match (&a.types, &b.types) {
        (None, _) | (_, None) => Some("every type".into()),
        (Some(a), Some(b)) => {
            let both = b.iter().find(|kind| a.iter().any(|other| other.overlaps(kind)));
            both.map(|kind| format!("{:?}", kind.to_string()))
        }
    }
}

fn timers(parent: &Section<'_, '_>) -> Vec<TimerConfig> {
    let mut timers: Vec<TimerConfig> = Vec::new();
    for section in parent.sections("timers") {
        let name = section.required("name", "\"tidy-up\"");
        if timers.iter().any(|timer| timer.name == name) {
            section.fault("name", format!("{name:?} is the name of another timer"));
        }
        if name.len() > 100 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            section.fault("name", "must have 1 to 100 visible ASCII characters");
        }
        let every = Duration::from_millis(section.required_integer("every_ms", 60_000, 100..=365 * DAY_MS));
        let route = route(&section);
        section.finish();
        timers.push(TimerConfig { name, every, route });
    }
    timers
}

fn route(section: &Section<'_, '_>) -> String {
    let route = section.required("route", "\"/events\"");
    if !route.is_empty() && !is_route(&route) {
        section.fault("route", "must be a path that begins with /, in ASCII, without a query, a fragment, . and ..");
    }
    route
}

fn is_service_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
