//! The relay and the edge (the embedded host, or Spin) as parts.
pub(crate) mod kafka_users;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use towpath_stack::checkout;
use towpath_stack::home::Home;
use towpath_stack::ports;
use towpath_stack::replica;
use towpath_stack::secrets::Secrets;
use towpath_stack::state::StopSignal;
use towpath_stack::surroundings::Surroundings;

use crate::spin;
use crate::supervisor::logs;
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Task, Tier, Variables};

/// Relay and host stop within ten seconds by themselves; a longer stop means that they hang.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What runs spin.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// The host that Towpath builds: wasmtime, nothing to install.
    Embedded,
    /// `spin up`, from PATH.
    Spin,
}

impl Runtime {
    /// The variable by which `up` is told of it, where the command line doesn't say it.
    pub(crate) const VARIABLE: &str = "TOWPATH_RUNTIME";

    /// Its word of the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Spin => "spin",
        }
    }
}

/// The relay of a pair.
pub(crate) fn relay(home: &Home, pair: usize, surroundings: &Surroundings<'_>) -> Result<PartSpec> {
    let (ports, name) = (surroundings.ports, replica::named("relay", pair));
    let mut launch = relay_command("run")?;
    launch.environment = surroundings.relay(pair, false)?;
    let variables = read_anew(home, surroundings, move |surroundings| surroundings.relay(pair, false));
    let admin = ports.address(&replica::named("relay-admin", pair))?;
    Ok(PartSpec {
        address: ports.address(&name)?,
        tier: Tier::Relay,
        after: vec!["migrate".to_owned(), kafka_users::TASK.to_owned(), "redis".to_owned()],
        prepare: None,
        launch,
        variables: Some(variables),
        probe: Probe::Ready { url: format!("http://{admin}/readyz") },
        ready_deadline: Duration::from_secs(60),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: STOP_DEADLINE,
        log: home.log(&name),
        name,
    })
}

/// The variables of a part, from the secrets as they are when it starts.
fn read_anew(
    home: &Home,
    surroundings: &Surroundings<'_>,
    variables: impl Fn(&Surroundings<'_>) -> Result<BTreeMap<String, String>> + Send + Sync + 'static,
) -> Variables {
    let (home, servers) = (home.clone(), surroundings.servers);
    let (ports, services) = (surroundings.ports.clone(), surroundings.services.clone());
    Arc::new(move || {
        let secrets = Secrets::load(&home)?;
        variables(&Surroundings { ports: &ports, services: &services, secrets: &secrets, servers })
    })
}

pub(crate) fn relay_command(command: &str) -> Result<Launch> {
    let application = checkout::application()?;
    let mut launch =
        Launch::new(binary("towpath-relay")?).args([command, "--config"]).args([checkout::relay_config(&application)]);
    launch.folder = Some(application);
    Ok(launch)
}

/// Migrating, once all databases answer.
pub(crate) fn migrate_task(home: &Home, surroundings: &Surroundings<'_>) -> Result<Task> {
    let environment = surroundings.relay(1, true)?;
    let home = home.clone();
    Ok(Task {
        name: "migrate".to_owned(),
        after: surroundings.services.databases().map(ports::database).collect(),
        // Its log has what it waits for.
        work: async move { migrate(&home, environment, |_| ()).await.map(drop) }.boxed(),
    })
}

/// Runs the migrations of all databases, and returns what they said. Meanwhile tells what they wait for.
pub(crate) async fn migrate(
    home: &Home,
    environment: BTreeMap<String, String>,
    tell: impl Fn(&str),
) -> Result<Vec<String>> {
    let mut launch = relay_command("migrate")?;
    launch.environment = environment;
    let log = home.log("migrate");
    let (file, from) = logs::open(&log, "migrate")?;
    let mut command = launch.command(StopSignal::Terminate);
    command.stdout(file.try_clone()?).stderr(Stdio::piped());
    let mut child = command.spawn().context("setpriv (of util-linux)")?;
    let mut stderr = BufReader::new(child.stderr.take().context("the relay has no stderr")?).lines();
    let (mut file, mut failure) = (file, Vec::new());
    while let Some(line) = stderr.next_line().await? {
        writeln!(file, "{line}")?;
        // All else is why it fails, in as many lines as it takes.
        match line.starts_with("Waiting") {
            true => tell(&line),
            false => failure.push(line.strip_prefix("towpath-relay: ").unwrap_or(&line).to_owned()),
        }
    }
    let status = child.wait().await?;
    if !status.success() {
        bail!("the migrations failed ({status}): {}\n  its log: {}", failure.join("\n"), log.display());
    }
    Ok(logs::last_lines(&log, from, 20))
}

/// The edge of a pair: whatever runs spin.toml.
pub(crate) fn host(home: &Home, runtime: Runtime, pair: usize, surroundings: &Surroundings<'_>) -> Result<PartSpec> {
    let (application, name) = (checkout::application()?, replica::named("host", pair));
    let manifest = application.join("spin.toml").into_os_string();
    let address = surroundings.ports.address(&name)?;
    let mut launch = match runtime {
        Runtime::Embedded => Launch::new(binary("towpath-host")?)
            .args(["--manifest".into(), manifest, "--listen".into(), address.clone().into()])
            .args([PathBuf::from("--cache-dir"), checkout::cache()?.join("compiled")])
            // The relay bounds its deliveries itself, and they must go on whatever clients do.
            .args(["--deliveries-listen".to_owned(), surroundings.ports.deliveries(pair)?]),
        Runtime::Spin => spin::up(manifest, &address)?,
    };
    launch.environment = surroundings.spin(pair)?;
    let variables = read_anew(home, surroundings, move |surroundings| surroundings.spin(pair));
    launch.optional = surroundings.services.spin_variables().collect();
    launch.folder = Some(application);
    Ok(PartSpec {
        address: address.clone(),
        tier: Tier::Edge,
        // The others find in the cache what the first has compiled.
        after: if pair == 1 { Vec::new() } else { vec!["host".to_owned()] },
        prepare: None,
        launch,
        variables: Some(variables),
        // Another application may answer this path as it likes.
        probe: match checkout::works_for_another()? {
            false => Probe::Http { url: format!("http://{address}/healthz") },
            true => Probe::Answers { url: format!("http://{address}/healthz") },
        },
        // A large component is compiled for minutes on a busy machine, once; the host's log says how far it is.
        ready_deadline: Duration::from_secs(900),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: STOP_DEADLINE,
        log: home.log(&name),
        name,
    })
}

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
