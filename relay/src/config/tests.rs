//! Faults and defaults of configurations.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const LEAST: &str = r#"
[redis]
url = "redis://127.0.0.1:6379"
[services.alpha]
token = "0123456789abcdef"
"#;

/// A configuration with every section.
pub(super) const WHOLE: &str = r#"
[relay]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
instance = "one"
shutdown_deadline_ms = 500
[log]
format = "pretty"
filter = "warn,towpath_relay=debug"
[telemetry]
otlp_endpoint = "http://127.0.0.1:4318/"
[limits]
body_bytes = 65_536
[redis]
url = "redis://:${SECRET}@127.0.0.1:6379/1"
prefix = "p"
[kafka]
brokers = "127.0.0.1:9092"
user = "relay"
password = "${SECRET}"
[kafka.properties]
"ssl.key.password" = "${SECRET}"
[kafka.topics."a.events"]
partitions = 8
replication_factor = 3
settings = { "retention.ms" = "1000" }
[services.alpha]
token = "${TOKEN}-of-alpha"
token_secondary = "${TOKEN}-of-alpha-too"
[services.alpha.limits]
steps = 3
[services.alpha.postgres]
url = "postgres://alpha_app:${SECRET}@127.0.0.1:5432/alpha"
relay_url = "postgres://towpath_relay:${SECRET}@127.0.0.1:5432/alpha"
admin_url = "${NOT_SET}"
migrations = "migrations/alpha"
[services.alpha.kafka]
user = "alpha"
password = "${SECRET}"
[services.alpha.publish]
topics = ["a.events"]
[services.alpha.component]
url = "http://127.0.0.1:3000/_relay/alpha/"
token = "${TOKEN}-to-alpha"
[[services.alpha.subscriptions]]
topic = "a.events"
types = ["a.made"]
route = "/events"
[[services.alpha.subscriptions]]
topic = "a.events"
types = ["a.lost"]
route = "/losses"
[[services.alpha.timers]]
name = "tidy-up"
every_ms = 5000
route = "/timers/tidy-up"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2hunter2".into()),
        "TOKEN" => Some("a-token-of-many-bytes".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse("relay.toml", text, Path::new("/etc/towpath"), &environment)
}

/// The faults of the whole configuration with one text replaced, as `path: message`.
fn faults_with(old: &str, new: &str) -> Vec<String> {
    assert!(WHOLE.contains(old), "{old} is in the text");
    faults(&WHOLE.replacen(old, new, 1))
}

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect(),
    }
}

#[track_caller]
fn one_fault(old: &str, new: &str, path: &str, part: &str) {
    let faults = faults_with(old, new);
    assert_eq!(faults.len(), 1, "{old} -> {new}: {faults:#?}");
    assert!(faults[0].starts_with(&format!("{path}: ")) && faults[0].contains(part), "{}", faults[0]);
}

#[test]
fn the_least_configuration_gets_safe_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.relay.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.relay.admin_listen.to_string(), "127.0.0.1:7071");
    assert!(config.relay.instance.ends_with(&format!("-{}", std::process::id())));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.limits, Limits::default());
    assert!(config.kafka.is_none() && config.telemetry.otlp_endpoint.is_none());
    let alpha = &config.services["alpha"];
    assert!(alpha.postgres.is_none() && alpha.component.is_none() && alpha.publish.is_empty());
}

#[test]
fn everything_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.relay.shutdown_deadline, Duration::from_millis(500));
    assert_eq!(config.telemetry.otlp_endpoint.as_deref(), Some("http://127.0.0.1:4318"));
    assert_eq!((config.limits.body_bytes, config.limits.steps), (65_536, Limits::default().steps));
    let kafka = config.kafka.as_ref().unwrap();
    let topic = &kafka.topics["a.events"];
    assert_eq!((topic.partitions, topic.replication_factor, topic.settings["retention.ms"].as_str()), (8, 3, "1000"));
    let alpha = &config.services["alpha"];
    assert_eq!(
        (alpha.limits.body_bytes, alpha.limits.steps),
        (65_536, 3),
        "a service's limits are those of the relay, but for its own"
    );
    let postgres = alpha.postgres.as_ref().unwrap();
    assert_eq!(postgres.url.expose(), "postgres://alpha_app:hunter2hunter2@127.0.0.1:5432/alpha");
    assert!(postgres.admin_url.is_none(), "an admin's URL whose variable isn't set is absent");
    assert_eq!(postgres.migrations.as_deref(), Some(Path::new("/etc/towpath/migrations/alpha")));
    assert_eq!(alpha.component.as_ref().unwrap().url, "http://127.0.0.1:3000/_relay/alpha");
    assert!(alpha.subscriptions[0].wants("a.made") && !alpha.subscriptions[0].wants("a.lost"));
    assert_eq!(alpha.timers[0].every, Duration::from_secs(5));
}

#[test]
fn a_user_of_kafka_has_a_password_and_each_service_its_own() {
    let config = parse(WHOLE).unwrap();
    let kafka = config.kafka.as_ref().unwrap();
    let user = |login: &Option<KafkaLogin>| login.as_ref().unwrap().user.clone();
    assert_eq!(user(&kafka.login), "relay");
    let alpha = kafka.of(&config.services["alpha"]);
    assert_eq!((user(&alpha.login).as_str(), alpha.login.unwrap().password.expose()), ("alpha", "hunter2hunter2"));

    let login = "user = \"relay\"\npassword = \"${SECRET}\"\n";
    one_fault(login, "user = \"relay\"\n", "kafka.password", "is missing");
    one_fault(login, "password = \"${SECRET}\"\n", "kafka.user", "is missing");
    one_fault("user = \"alpha\"\n", "", "services.alpha.kafka.user", "is missing");
    one_fault("user = \"alpha\"", "user = \"al pha\"", "services.alpha.kafka.user", "1 to 200");
    one_fault("\"ssl.key.password\"", "\"sasl.password\"", "kafka.properties.\"sasl.password\"", "already");
    let faults = faults_with(login, "");
    assert!(faults.len() == 1 && faults[0].contains("under [kafka] too"), "{faults:#?}");
    let config =
        parse(&WHOLE.replace("[services.alpha.kafka]\nuser = \"alpha\"\npassword = \"${SECRET}\"\n", "")).unwrap();
    assert_eq!(user(&config.kafka.as_ref().unwrap().of(&config.services["alpha"]).login), "relay");
}

#[test]
fn no_secret_is_shown() {
    let config = parse(WHOLE).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("a-token-of-many-bytes"), "{shown}");
    assert!(shown.contains("alpha_app@127.0.0.1:5432/alpha"), "{shown}");
    let broken = WHOLE
        .replace("127.0.0.1:6379/1", "")
        .replace("@127.0.0.1:5432/alpha", "@127.0.0.1:x")
        .replace("TOKEN}", "SECRET}\t");
    let said = parse(&broken).unwrap_err().to_string();
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn all_faults_are_reported_at_once_with_their_lines() {
    let text = "[relay]\nlisten = \"here\"\nlissten = 1\n[limits]\nbody_bytes = -1\n[redis]\nurl = 7\n\
                [services.alpha]\ntoken = \"${NOPE}\"\n[services.beta]\ntoken = \"short\"\n[what]\n";
    let said = parse(text).unwrap_err().to_string();
    for line in [
        "relay.toml: 7 faults",
        "line 2: relay.listen: must be an address and a port",
        "line 3: relay.lissten: is not a key that is known here; known are: admin_listen, instance, listen, shutdown_deadline_ms",
        "line 5: limits.body_bytes: must be a whole number from 1024 to",
        "line 7: redis.url: must be a string or { file = \"path\" }, not an integer",
        "line 9: services.alpha.token: the environment variable NOPE isn't set",
        "line 11: services.beta.token: has 5 bytes; take 16 or more",
        "line 12: what: is not a key that is known here",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let said = parse("[redis]\nurl = \n").unwrap_err().to_string();
    assert!(said.contains("line 2: is not TOML"), "{said}");
}

#[test]
fn an_unknown_key_is_refused_at_every_level() {
    for (before, path) in [
        ("[relay]", "relay.extra"),
        ("[log]", "log.extra"),
        ("[telemetry]", "telemetry.extra"),
        ("[limits]", "limits.extra"),
        ("[redis]", "redis.extra"),
        ("[kafka]", "kafka.extra"),
        ("[kafka.topics.\"a.events\"]", "kafka.topics.\"a.events\".extra"),
        ("[services.alpha]", "services.alpha.extra"),
        ("[services.alpha.limits]", "services.alpha.limits.extra"),
        ("[services.alpha.postgres]", "services.alpha.postgres.extra"),
        ("[services.alpha.publish]", "services.alpha.publish.extra"),
        ("[services.alpha.component]", "services.alpha.component.extra"),
        ("[[services.alpha.subscriptions]]", "services.alpha.subscriptions[0].extra"),
        ("[[services.alpha.timers]]", "services.alpha.timers[0].extra"),
    ] {
        one_fault(before, &format!("{before}\nextra = 1"), path, "is not a key that is known here");
    }
}

#[test]
fn each_bad_value_is_one_fault_that_names_its_key() {
    for (old, new, path, part) in [
        ("\"one\"", "\"\"", "relay.instance", "hostname-pid"),
        ("shutdown_deadline_ms = 500", "shutdown_deadline_ms = \"5\"", "relay.shutdown_deadline_ms", "whole number"),
        ("\"pretty\"", "\"loud\"", "log.format", "json"),
        ("\"warn,towpath_relay=debug\"", "\"a=b=c\"", "log.filter", "filter"),
        ("http://127.0.0.1:4318/", "https://x", "telemetry.otlp_endpoint", "http://"),
        ("prefix = \"p\"", "prefix = \"p:q\"", "redis.prefix", "colons"),
        ("redis://:${SECRET}@127.0.0.1:6379/1", "nonsense", "redis.url", "redis://"),
        ("partitions = 8\n", "", "kafka.topics.\"a.events\".partitions", "is missing"),
        ("replication_factor = 3", "replication_factor = 0", "kafka.topics.\"a.events\".replication_factor", "from 1"),
        ("\"${TOKEN}-of-alpha\"", "{ file = \"/nowhere\" }", "services.alpha.token", "can't be read"),
        ("\"${TOKEN}-of-alpha\"", "\"${TOKEN\"", "services.alpha.token", "without `}`"),
        ("\"${TOKEN}-of-alpha-too\"", "\"short\"", "services.alpha.token_secondary", "has 5 bytes"),
        ("steps = 3", "steps = 0", "services.alpha.limits.steps", "whole number from 1"),
        (
            "postgres://alpha_app:${SECRET}@127.0.0.1:5432/alpha",
            "postgres://127.0.0.1",
            "services.alpha.postgres.url",
            "user",
        ),
        ("5432/alpha\"\nrelay", "5432/alpha?sslmode=require\"\nrelay", "services.alpha.postgres.url", "TLS"),
        ("postgres://towpath_relay", "postgres://alpha_app", "services.alpha.postgres.relay_url", "role"),
        ("topics = [\"a.events\"]", "topics = [\"b.events\"]", "services.alpha.publish.topics", "not declared"),
        ("/_relay/alpha/\"", "/_relay/alpha?x\"", "services.alpha.component.url", "http://"),
        ("route = \"/events\"", "route = \"events\"", "services.alpha.subscriptions[0].route", "begins with /"),
        ("types = [\"a.made\"]", "types = []", "services.alpha.subscriptions[0].types", "empty"),
        ("types = [\"a.lost\"]", "", "services.alpha.subscriptions[1]", "every type"),
        ("types = [\"a.lost\"]", "types = [\"a.made\"]", "services.alpha.subscriptions[1]", "a.made"),
        ("types = [\"a.lost\"]", "types = [\"a.*\"]", "services.alpha.subscriptions[1]", "\"a.*\" of this topic"),
        (
            "types = [\"a.lost\"]",
            "types = [\"a.lost\", \"a.lost\"]",
            "services.alpha.subscriptions[1].types",
            "same type",
        ),
        ("types = [\"a.lost\"]", "types = [\"b.*\", \"b.c\"]", "services.alpha.subscriptions[1].types", "same type"),
        ("types = [\"a.lost\"]", "types = [\"\"]", "services.alpha.subscriptions[1].types", "empty type"),
        ("types = [\"a.lost\"]", "types = [\" a.lost\"]", "services.alpha.subscriptions[1].types", "space"),
        ("types = [\"a.lost\"]", "types = [\"a*\"]", "services.alpha.subscriptions[1].types", "after a dot"),
        ("types = [\"a.lost\"]", "types = [\"*\"]", "services.alpha.subscriptions[1].types", "leave types out"),
        ("topics = [\"a.events\"]", "topics = [\"a.events\", \"a.events\"]", "services.alpha.publish.topics", "twice"),
        ("brokers = \"127.0.0.1:9092\"", "brokers = \"127.0.0.1\"", "kafka.brokers", "host:port"),
        ("brokers = \"127.0.0.1:9092\"", "brokers = \"a:1,,b:2\"", "kafka.brokers", "host:port"),
        (
            "\"ssl.key.password\"",
            "\"ssl.key.passphrase\"",
            "kafka.properties.\"ssl.key.passphrase\"",
            "doesn't have this setting",
        ),
        ("\"ssl.key.password\"", "\"isolation.level\"", "kafka.properties.\"isolation.level\"", "by the relay itself"),
        (
            "\"retention.ms\" = \"1000\"",
            "\"retention.ms\" = \"a week\"",
            "kafka.topics.\"a.events\".settings.\"retention.ms\"",
            "whole number",
        ),
        (
            "\"retention.ms\" = \"1000\"",
            "\"min.insync.replicas\" = \"4\"",
            "kafka.topics.\"a.events\".settings.\"min.insync.replicas\"",
            "replication_factor (3)",
        ),
        (
            "\"retention.ms\" = \"1000\"",
            "\"retention.ms\" = \"1209600000\"",
            "services.alpha.limits.inbox_retention_ms",
            "raise inbox_retention_ms to 12",
        ),
        ("steps = 3", "header_bytes = 9000", "services.alpha.limits.header_bytes", "under [limits]"),
        ("steps = 3", "admin_connections = 9", "services.alpha.limits.admin_connections", "under [limits]"),
        ("steps = 3", "event_bytes = 70_000", "services.alpha.limits.event_bytes", "body_bytes (65536)"),
        (
            "steps = 3",
            "delivery_bytes = 65_536",
            "services.alpha.limits.delivery_bytes",
            "event of alpha on \"a.events\"",
        ),
        (
            "[services.alpha]\n",
            "[kafka.topics.\"a.events.alpha.dlq\"]\npartitions = 1\nreplication_factor = 1\n[services.alpha]\n",
            "kafka.topics.\"a.events.alpha.dlq\"",
            "makes for alpha itself",
        ),
        ("every_ms = 5000", "every_ms = 1", "services.alpha.timers[0].every_ms", "from 100"),
    ] {
        one_fault(old, new, path, part);
    }
}

#[test]
fn what_works_and_is_hardly_meant_is_a_warning() {
    assert_eq!(parse(WHOLE).unwrap().warnings, []);
    let topic = "[kafka.topics.\"b.events\"]\npartitions = 1\nreplication_factor = 1\n[services.alpha]\n";
    for (old, new, path, part) in [
        ("[services.alpha]\n", topic, "kafka.topics.\"b.events\"", "no service"),
        ("steps = 3", "lock_timeout_ms = 5000", "services.alpha.limits.lock_timeout_ms", "never comes"),
        ("steps = 3", "wait_look_ms = 60000", "services.alpha.limits.wait_look_ms", "never comes"),
        ("steps = 3", "delivery_lanes = 5000", "services.alpha.limits.delivery_lanes", "delivery_buffer (1000)"),
        (
            "\"retention.ms\" = \"1000\"",
            "\"retention.ms\" = \"-1\"",
            "services.alpha.limits.inbox_retention_ms",
            "keeps events for ever",
        ),
        (
            "\"retention.ms\" = \"1000\"",
            "\"max.message.bytes\" = \"5000\"",
            "kafka.topics.\"a.events\".settings.\"max.message.bytes\"",
            "Kafka refuses larger ones",
        ),
    ] {
        assert!(WHOLE.contains(old), "{old} is in the text");
        let warnings = parse(&WHOLE.replacen(old, new, 1)).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{old} -> {new}: {warnings:#?}");
        assert!(warnings[0].path == path && warnings[0].message.contains(part), "{}", warnings[0]);
    }
    let uncalled = format!("{LEAST}[services.alpha.component]\nurl = \"http://h:1/x\"\ntoken = \"0123456789abcdef\"\n");
    let warnings = parse(&uncalled).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        warnings[0].to_string(),
        "line 6: services.alpha.component: is never called: the service has no subscription and no timer"
    );
}

#[test]
fn what_needs_another_section_says_so() {
    let without = |section: &str, end: &str| {
        let from = WHOLE.find(section).unwrap();
        let to = WHOLE[from..].find(end).map_or(WHOLE.len(), |to| from + to);
        faults(&format!("{}{}", &WHOLE[..from], &WHOLE[to..])).join("\n")
    };
    assert!(without("[services.alpha.component]", "[[").contains("services.alpha.component: is missing"));
    let no_postgres = without("[services.alpha.postgres]", "[services.alpha.publish]");
    assert!(
        no_postgres.contains("services.alpha.publish: needs") && no_postgres.contains("services.alpha.timers: need")
    );
    assert!(without("[kafka]", "[services").contains("services.alpha.publish.topics: needs [kafka]"));
    assert!(faults("[redis]\nurl = \"redis://h\"\n").join("").contains("services: names no service"));
}

#[test]
fn two_services_can_not_share_a_token() {
    let faults = faults(&format!("{LEAST}[services.beta]\ntoken = \"0123456789abcdef\"\n"));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("services.beta.token: is also the token of alpha"), "{}", faults[0]);
    let beta = "[services.beta]\ntoken = \"fedcba9876543210\"\ntoken_secondary = \"0123456789abcdef\"\n";
    let secondary = self::faults(&format!("{LEAST}{beta}"));
    assert_eq!(secondary.len(), 1, "{secondary:?}");
    assert!(secondary[0].starts_with("services.beta.token_secondary: is also the token of alpha"), "{secondary:?}");
}

#[test]
fn a_secondary_token_is_absent_while_its_variable_is_not_set_or_empty() {
    let secondary = |text: &str| {
        let line = format!("token = \"0123456789abcdef\"\ntoken_secondary = \"{text}\"");
        let config = parse(&LEAST.replace("token = \"0123456789abcdef\"", &line)).unwrap();
        config.services["alpha"].token_secondary.as_ref().map(|token| token.expose().to_owned())
    };
    assert_eq!(secondary("${NOT_SET}"), None);
    assert_eq!(secondary("${EMPTY}"), None);
    assert_eq!(secondary("${TOKEN}"), Some("a-token-of-many-bytes".to_owned()));
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let directory = std::env::temp_dir().join(format!("towpath-config-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("token"), "from-a-file-0123456789\n").unwrap();
    let text = LEAST.replace("\"0123456789abcdef\"", "{ file = \"token\" }");
    let config = Config::parse("relay.toml", &text, &directory, &environment).unwrap();
    assert_eq!(config.services["alpha"].token.expose(), "from-a-file-0123456789");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_application_of_this_repository_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("relay.toml")).unwrap();
    let variable = |name: &str| {
        let value = match name {
            name if name.ends_with("LISTEN") => format!("127.0.0.1:{}", 7000 + name.len()),
            "TOWPATH_KAFKA" => "127.0.0.1:29092".into(),
            "TOWPATH_REDIS_URL" => "redis://127.0.0.1:6379".into(),
            "TOWPATH_COMPONENTS_URL" => "http://127.0.0.1:3000".into(),
            "OTEL_EXPORTER_OTLP_ENDPOINT" => return None,
            name if name.starts_with("TOWPATH_POSTGRES_") => format!("postgres://{}:x@h/d", name.to_lowercase()),
            name => format!("{name}-0123456789"),
        };
        Some(value)
    };
    let config = Config::parse("relay.toml", &text, &root, &variable).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, []);
    for service in config.services.values() {
        let folder = service.postgres.as_ref().and_then(|postgres| postgres.migrations.as_ref());
        assert!(folder.is_none_or(|folder| folder.is_dir()), "{folder:?}");
    }
}

proptest! {
    /// Whatever stands in a file, reading it ends in a configuration or in faults, and never in a panic.
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[|\\]|\"|=|\n|[a-z.]{1,8}|[0-9]|\\$\\{|\\}){0,60}") {
        let _ = parse(&text);
        let _ = parse(&format!("{WHOLE}\n{text}"));
    }
}
