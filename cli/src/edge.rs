//! The relay and the edge (the embedded host, or Spin) as parts, and what they are told by their environment.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::FutureExt;

use crate::home::{self, Home, write_atomically};
use crate::ports::Ports;
use crate::progress::say;
use crate::replica;
use crate::secrets::{CALLERS, DATABASES, Secrets};
use crate::state::{Servers, StopSignal};
use crate::supervisor::logs;
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Task, Tier};
use crate::tools::in_path;

/// Both stop gracefully within ten seconds of their own; what lasts longer hangs.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What runs spin.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// The host that Towpath builds: wasmtime, nothing to install.
    Embedded,
    /// `spin up`, from PATH.
    Spin,
}

/// Everything that the environments of relay and edge are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) secrets: &'a Secrets,
    pub(crate) servers: Servers,
}

impl Surroundings<'_> {
    /// What relay.toml asks for, in this pair. `admin` adds what only `migrate` may know: the superusers' passwords.
    pub(crate) fn relay(&self, pair: usize, admin: bool) -> Result<BTreeMap<String, String>> {
        let (ports, secrets) = (self.ports, self.secrets);
        let own = |name: &str| ports.address(&replica::named(name, pair));
        let kafka = if self.servers == Servers::Compose { "kafka-external" } else { "kafka" };
        let redis = format!("redis://:{}@{}", secrets.redis(), ports.address("redis")?);
        let mut variables = BTreeMap::from([
            ("TOWPATH_RELAY_LISTEN".to_owned(), own("relay")?),
            ("TOWPATH_RELAY_ADMIN_LISTEN".to_owned(), own("relay-admin")?),
            ("TOWPATH_REDIS_URL".to_owned(), redis),
            ("TOWPATH_KAFKA".to_owned(), ports.address(kafka)?),
            ("TOWPATH_COMPONENTS_URL".to_owned(), format!("http://{}", own("host")?)),
        ]);
        for service in DATABASES {
            let address = ports.address(&format!("postgres-{service}"))?;
            let upper = service.to_uppercase();
            let url = |role: &str, password: &str| format!("postgres://{role}:{password}@{address}/{service}");
            let name = format!("TOWPATH_POSTGRES_{upper}");
            variables.insert(name.clone(), url(&format!("{service}_app"), secrets.app(service)));
            variables.insert(format!("{name}_RELAY"), url("towpath_relay", secrets.relay(service)));
            if admin {
                variables.insert(format!("{name}_ADMIN"), url("postgres", secrets.postgres(service)));
            }
            let token = secrets.delivery_token(service).to_owned();
            variables.insert(format!("TOWPATH_DELIVERY_TOKEN_{upper}"), token);
        }
        for service in CALLERS {
            let token = secrets.token(service).to_owned();
            variables.insert(format!("TOWPATH_TOKEN_{}", service.to_uppercase()), token);
        }
        Ok(variables)
    }

    /// The variables of spin.toml, in this pair.
    pub(crate) fn spin(&self, pair: usize) -> Result<BTreeMap<String, String>> {
        let relay = format!("http://{}", self.ports.address(&replica::named("relay", pair))?);
        let mut variables = BTreeMap::from([("SPIN_VARIABLE_RELAY_URL".to_owned(), relay)]);
        let mut add = |service: &str, what: &str, secret: &str| {
            variables.insert(format!("SPIN_VARIABLE_{}_{what}", service.to_uppercase()), secret.to_owned());
        };
        for service in CALLERS {
            add(service, "TOKEN", self.secrets.token(service));
        }
        for service in DATABASES {
            add(service, "DELIVERY_TOKEN", self.secrets.delivery_token(service));
        }
        Ok(variables)
    }
}

/// The relay of a pair.
pub(crate) fn relay(home: &Home, pair: usize, surroundings: &Surroundings<'_>) -> Result<PartSpec> {
    let (ports, name) = (surroundings.ports, replica::named("relay", pair));
    let mut launch = relay_command("run")?;
    launch.environment = surroundings.relay(pair, false)?;
    let admin = ports.address(&replica::named("relay-admin", pair))?;
    Ok(PartSpec {
        address: ports.address(&name)?,
        tier: Tier::Relay,
        after: vec!["migrate".to_owned(), "kafka".to_owned(), "redis".to_owned()],
        prepare: None,
        launch,
        probe: Probe::Http { url: format!("http://{admin}/readyz") },
        ready_deadline: Duration::from_secs(60),
        stop_signal: StopSignal::Terminate,
        stop_deadline: STOP_DEADLINE,
        log: home.log(&name),
        name,
    })
}

/// Names another relay.toml, for a stack whose relay is told something else.
pub(crate) const RELAY_CONFIG: &str = "TOWPATH_RELAY_CONFIG";

/// The relay.toml of the stack.
pub(crate) fn relay_config(root: &Path) -> OsString {
    std::env::var_os(RELAY_CONFIG).unwrap_or_else(|| root.join("relay.toml").into_os_string())
}

fn relay_command(command: &str) -> Result<Launch> {
    let root = home::repository()?;
    let mut launch = Launch::new(binary("towpath-relay")?).args([command, "--config"]).args([relay_config(&root)]);
    launch.folder = Some(root);
    Ok(launch)
}

/// Migrating, once all databases answer.
pub(crate) fn migrate_task(home: &Home, surroundings: &Surroundings<'_>) -> Result<Task> {
    let environment = surroundings.relay(1, true)?;
    let home = home.clone();
    Ok(Task {
        name: "migrate".to_owned(),
        after: DATABASES.iter().map(|service| format!("postgres-{service}")).collect(),
        work: async move { migrate(&home, environment).await.map(drop) }.boxed(),
    })
}

/// Runs the migrations of all databases, and returns what they said.
pub(crate) async fn migrate(home: &Home, environment: BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut launch = relay_command("migrate")?;
    launch.environment = environment;
    let log = home.log("migrate");
    let (file, from) = logs::open(&log, "migrate")?;
    let mut command = launch.command(StopSignal::Terminate);
    command.stdout(file.try_clone()?).stderr(file);
    let status = command.spawn().context("setpriv (of util-linux)")?.wait().await?;
    let said = logs::last_lines(&log, from, 20);
    if !status.success() {
        bail!("the migrations failed ({status}); the end of {}:\n    {}", log.display(), said.join("\n    "));
    }
    Ok(said)
}

/// The edge of a pair: whatever runs spin.toml.
pub(crate) fn host(home: &Home, runtime: Runtime, pair: usize, surroundings: &Surroundings<'_>) -> Result<PartSpec> {
    let (root, name) = (home::repository()?, replica::named("host", pair));
    let manifest = root.join("spin.toml").into_os_string();
    let address = surroundings.ports.address(&name)?;
    let mut launch = match runtime {
        Runtime::Embedded => Launch::new(binary("towpath-host")?)
            .args(["--manifest".into(), manifest, "--listen".into(), address.clone().into()])
            .args([PathBuf::from("--cache-dir"), home::cache()?.join("compiled")])
            // The relay bounds its deliveries itself, and they must go on whatever clients do.
            .args(["--steady-prefix", "/_relay/"]),
        Runtime::Spin => Launch::new(spin()?).args([
            "up".into(),
            "--file".into(),
            manifest,
            "--listen".into(),
            address.clone().into(),
        ]),
    };
    launch.environment = surroundings.spin(pair)?;
    launch.optional = spin_variables(&root)?;
    launch.folder = Some(root);
    Ok(PartSpec {
        address: address.clone(),
        tier: Tier::Edge,
        // The others find in the cache what the first has compiled.
        after: if pair == 1 { Vec::new() } else { vec!["host".to_owned()] },
        prepare: None,
        launch,
        probe: Probe::Http { url: format!("http://{address}/healthz") },
        ready_deadline: Duration::from_secs(120),
        stop_signal: StopSignal::Terminate,
        stop_deadline: STOP_DEADLINE,
        log: home.log(&name),
        name,
    })
}

/// All variables that the application declares, as the environment has them.
fn spin_variables(root: &Path) -> Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        #[serde(default)]
        variables: BTreeMap<String, toml::Value>,
    }
    let file = root.join("spin.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| format!("{} is wrong", file.display()))?;
    Ok(manifest.variables.keys().map(|name| format!("SPIN_VARIABLE_{}", name.to_uppercase())).collect())
}

/// Spin's program, or how to do without.
pub(crate) fn spin() -> Result<PathBuf> {
    in_path("spin").context(
        "`spin` is not in PATH: install Spin 4.1 or newer (https://spinframework.dev), or leave out --runtime spin to \
         use the embedded host",
    )
}

/// What a plain `spin up` in the checkout needs: Spin reads `.env` beside its manifest.
pub(crate) fn write_dot_env(root: &Path, surroundings: &Surroundings<'_>) -> Result<PathBuf> {
    let file = root.join(".env");
    let mut text = String::from(DOT_ENV_TITLE);
    for (name, value) in surroundings.spin(1)? {
        text.push_str(&format!("{name}={value}\n"));
    }
    match std::fs::read_to_string(&file) {
        Ok(present) if !present.starts_with(DOT_ENV_TITLE) => {
            bail!("{} is not one that Towpath made: move it away, `up --no-host` writes its own", file.display())
        }
        _ => write_atomically(&file, &text, 0o600)?,
    }
    Ok(file)
}

/// Removes a `.env` that `up --no-host` made.
pub(crate) fn remove_dot_env(root: &Path) {
    let file = root.join(".env");
    let ours = std::fs::read_to_string(&file).is_ok_and(|text| text.starts_with(DOT_ENV_TITLE));
    if ours && let Err(error) = std::fs::remove_file(&file) {
        say(&format!("cannot remove {}: {error}", file.display()));
    }
}

const DOT_ENV_TITLE: &str = "# Made by `towpath up --no-host` for `spin up`.\n";

/// One of the programs that are built beside this one.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    // Tests run from target/release/deps.
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| {
        let folder = here.parent().unwrap_or(Path::new("."));
        format!("{} is not built: run this by ./towpath, which builds it", folder.join(name).display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::os::unix::fs::PermissionsExt;

    fn with_surroundings(check: impl FnOnce(&Surroundings<'_>, &Secrets)) {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        home.create().unwrap();
        let (ports, secrets) = (Ports::defaults(2), Secrets::load_or_create(&home).unwrap());
        check(&Surroundings { ports: &ports, secrets: &secrets, servers: Servers::Native }, &secrets);
    }

    /// Every variable that the repository's relay.toml asks for is given.
    #[test]
    fn relay_toml_gets_what_it_asks_for() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("relay.toml")).unwrap();
        with_surroundings(|surroundings, _| {
            let given = surroundings.relay(1, true).unwrap();
            let text: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            for asked in text.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
                assert!(given.contains_key(asked), "{asked} is not given");
            }
            let without = surroundings.relay(1, false).unwrap();
            assert!(without.keys().all(|name| !name.ends_with("_ADMIN")), "a running relay knows no superuser");
        });
    }

    fn differing<'a>(one: &'a BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<&'a str> {
        one.iter().filter(|(name, value)| other[*name] != **value).map(|(name, _)| name.as_str()).collect()
    }

    /// Each relay knows its own host alone, and each host its own relay; what both pairs share is the same.
    #[test]
    fn pairs_keep_to_themselves() {
        with_surroundings(|surroundings, _| {
            let relay = |pair| surroundings.relay(pair, false).unwrap();
            let own = ["TOWPATH_COMPONENTS_URL", "TOWPATH_RELAY_ADMIN_LISTEN", "TOWPATH_RELAY_LISTEN"];
            assert_eq!(differing(&relay(1), &relay(2)), own);
            assert_eq!(relay(2)["TOWPATH_COMPONENTS_URL"], "http://127.0.0.1:3001");
            let host = |pair| surroundings.spin(pair).unwrap();
            assert_eq!(differing(&host(1), &host(2)), ["SPIN_VARIABLE_RELAY_URL"]);
            assert_eq!(host(2)["SPIN_VARIABLE_RELAY_URL"], format!("http://{}", relay(2)["TOWPATH_RELAY_LISTEN"]));
        });
    }

    /// Every required variable of the repository's spin.toml is given.
    #[test]
    fn spin_toml_gets_what_it_asks_for() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest: toml::Table = std::fs::read_to_string(root.join("spin.toml")).unwrap().parse().unwrap();
        with_surroundings(|surroundings, secrets| {
            let given = surroundings.spin(1).unwrap();
            for (name, variable) in manifest["variables"].as_table().unwrap() {
                let required = variable.get("required").and_then(toml::Value::as_bool).unwrap_or_default();
                let variable = format!("SPIN_VARIABLE_{}", name.to_uppercase());
                assert!(!required || given.contains_key(&variable), "{variable} is not given");
            }
            assert_eq!(given["SPIN_VARIABLE_ORDER_TOKEN"], secrets.token("order"));
        });
    }

    #[test]
    fn dot_env_is_closed_to_others_and_never_overwrites_a_strangers() {
        let folder = TempDir::new();
        with_surroundings(|surroundings, secrets| {
            let file = write_dot_env(folder.path(), surroundings).unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(&format!("\nSPIN_VARIABLE_ORDER_TOKEN={}\n", secrets.token("order"))), "{text}");
            write_dot_env(folder.path(), surroundings).unwrap();
            remove_dot_env(folder.path());
            assert!(!file.exists());

            std::fs::write(&file, "MINE=1\n").unwrap();
            assert!(write_dot_env(folder.path(), surroundings).is_err());
            remove_dot_env(folder.path());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "MINE=1\n");
        });
    }
}
