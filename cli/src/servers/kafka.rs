//! Kafka: one node in KRaft mode.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use towpath_stack::formats;
use towpath_stack::home::write_atomically;
use towpath_stack::kafka::{ADMIN, Kafka, jaas};
use towpath_stack::ports::Ports;
use towpath_stack::programs::Java;
use towpath_stack::state::StopSignal;

use super::kafka_jars::Jars;
use super::{Place, run};
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};

/// Of the data, in the home's data folder, where Kafka runs. `log.dirs` is a list, and there is no way to write a path with a
/// comma in it: so it names the folder from there, whatever the path of the home is.
const FOLDER: &str = "kafka";
/// What the file with the settings of its log is called in the home's run folder.
const LOGGING: &str = "log4j2.properties";
const HEAP: &str = "-Xmx256m";
/// In the data folder's meta.properties: its form, which Kafka 4 writes and reads.
const META_VERSION: &str = "version=1";
/// In the data folder: its broker has known its super user from the beginning.
const HAS_USERS: &str = "towpath-users";

/// The part. Its address is the INTERNAL listener.
pub(crate) fn part(place: &Place, ports: &Ports, password: &str, jars: &Jars, java: &Java) -> Result<PartSpec> {
    let data = place.home.data().join(FOLDER);
    let file = place.home.run().join("kafka.properties");
    let static_part = place.native.join("kafka");
    let settings = settings(ports, password)?;
    let format = Format { file: place.home.run().join("kafka-format"), password: password.to_owned() };
    let address = ports.address("kafka")?;
    let base = java_command(place, jars, java);
    let launch = base.clone().args(["kafka.Kafka".into(), file.clone().into_os_string()]);
    Ok(PartSpec {
        name: "kafka".to_owned(),
        address: address.clone(),
        tier: Tier::Server,
        after: Vec::new(),
        prepare: Some(Arc::new(move || {
            let (base, file, static_part) = (base.clone(), file.clone(), static_part.clone());
            let (data, settings, format) = (data.clone(), settings.clone(), format.clone());
            async move { prepare(&base, &file, &static_part, &data, &settings, &format).await }.boxed()
        })),
        launch,
        variables: None,
        probe: Probe::Kafka(Kafka { address, password: password.to_owned() }),
        ready_deadline: Duration::from_secs(120),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: Duration::from_secs(30),
        log: place.home.log("kafka"),
    })
}

fn java_command(place: &Place, jars: &Jars, java: &Java) -> Launch {
    // Without a locale of UTF-8 Java can't open a file whose path has other characters than ASCII.
    let mut launch = Launch::new(&java.0)
        .env("LC_ALL", "C.UTF-8")
        .args([HEAP, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"])
        // A list of URLs: relative, for the same reason as the data.
        .args([format!("-Dlog4j2.configurationFile=../run/{LOGGING}")]);
    launch.folder = Some(place.home.data());
    if place.throw_away {
        // Starts sooner; what it costs in throughput a test doesn't need.
        launch = launch.args(["-XX:TieredStopAtLevel=1"]);
    }
    launch.args(["-cp".to_owned(), jars.class_path()])
}

/// What this stack adds to the file of the checkout.
fn settings(ports: &Ports, password: &str) -> Result<String> {
    let listeners: Vec<String> =
        [("INTERNAL", "kafka"), ("EXTERNAL", "kafka-external"), ("CONTROLLER", "kafka-controller")]
            .iter()
            .map(|(listener, port)| Ok(format!("{listener}://{}", ports.address(port)?)))
            .collect::<Result<_>>()?;
    let listeners = listeners.join(",");
    // The broker talks to its controller, and to itself.
    let login = |listener: &str| (format!("listener.name.{listener}.scram-sha-512.sasl.jaas.config"), jaas(password));
    let settings = [
        login("internal"),
        login("controller"),
        ("listeners".to_owned(), listeners.clone()),
        ("advertised.listeners".to_owned(), listeners),
        ("controller.quorum.bootstrap.servers".to_owned(), ports.address("kafka-controller")?),
        ("log.dirs".to_owned(), FOLDER.to_owned()),
    ];
    let lines = settings.map(|(name, value)| format!("{name}={}\n", formats::properties(&value)));
    Ok(format!("\n# Added by `towpath up`.\n{}", lines.concat()))
}

/// How the data folder is made.
#[derive(Clone)]
struct Format {
    /// The tool's arguments, while it runs: a command line is there for all to see.
    file: PathBuf,
    /// The super user's, which the broker needs from its first moment on.
    password: String,
}

impl Format {
    fn arguments(&self, settings: &Path) -> String {
        let scram = format!("SCRAM-SHA-512=[name={ADMIN},password={}]", self.password);
        let settings = settings.display().to_string();
        let id = cluster_id();
        ["format", "--standalone", "--ignore-formatted", "-t", &id, "-c", &settings, "--add-scram", &scram].join("\n")
    }
}

async fn prepare(
    base: &Launch,
    file: &Path,
    static_part: &Path,
    data: &Path,
    settings: &str,
    format: &Format,
) -> Result<()> {
    let read = |name: &str| {
        let file = static_part.join(name);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    write_atomically(&file.with_file_name(LOGGING), &read(LOGGING)?, 0o600)?;
    let text = read("server.properties")?;
    write_atomically(file, &format!("{text}{settings}"), 0o600)?;
    let has_users = data.join(HAS_USERS);
    if let Ok(meta) = std::fs::read_to_string(data.join("meta.properties")) {
        ensure!(
            meta.lines().any(|line| line == META_VERSION),
            "{} was made by a version of Kafka that this one can't read (its meta.properties lacks {META_VERSION}): start anew \
             with `towpath reset`",
            data.display()
        );
        ensure!(
            has_users.exists(),
            "{} was made by a version of Towpath whose Kafka let everybody in, and its broker can't be told of users: \
             start anew with `towpath reset`",
            data.display()
        );
        return Ok(());
    }
    std::fs::create_dir_all(data)?;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700))?;
    // Whatever ends this, no password stays.
    let _written = Written(&format.file);
    write_atomically(&format.file, &format.arguments(file), 0o600)?;
    let tool = ["kafka.tools.StorageTool".to_owned(), format!("@{}", format.file.display())];
    // Before: the tool writes meta.properties last, and one that was killed right after it has made all of it.
    write_atomically(&has_users, "", 0o600)?;
    run(&base.clone().args(tool)).await.map(drop)
}

/// A file that goes with its use.
struct Written<'a>(&'a Path);

impl Drop for Written<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// A UUID in URL-safe base64 without padding, as Kafka writes its own.
fn cluster_id() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = uuid::Uuid::now_v7().as_u128();
    // 22 digits of 6 bits hold 132 bits: the last digit has 4 bits of padding, all zero. A leading `-` would look like an
    // option to the tool; a v7 UUID of this century begins with a zero byte's digits instead.
    (0..22)
        .map(|place| {
            let digit = if place < 21 { (number >> (122 - 6 * place)) & 63 } else { (number << 4) & 63 };
            char::from(DIGITS[digit as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_has_the_form_of_kafkas_own() {
        let id = cluster_id();
        assert_eq!(id.len(), 22);
        assert!(!id.starts_with('-') && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{id}");
    }

    #[test]
    fn listeners_follow_the_ports() {
        let mut ports = Ports::defaults(&towpath_stack::testing::services(), 1);
        ports.set("kafka", 21_000).unwrap();
        let text = settings(&ports, "secret").unwrap();
        let listeners = "INTERNAL://127.0.0.1:21000,EXTERNAL://127.0.0.1:29092,CONTROLLER://127.0.0.1:9093";
        assert!(text.contains(&format!("\nlisteners={listeners}\nadvertised.listeners={listeners}\n")), "{text}");
        assert!(text.ends_with("log.dirs=kafka\n"), "{text}");
        assert_eq!(text.matches("username=\"admin\" password=\"secret\";\n").count(), 2, "{text}");
    }
}
