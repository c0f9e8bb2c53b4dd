//! `towpath up`: everything, from missing packages to a seeded catalogue, and then watching over it.
mod background;
mod machine;
mod words;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use self::machine::Machine;
use super::INTERRUPTED;
use crate::edge::{self, Runtime, Surroundings};
use crate::home::{self, Home, Lock};
use crate::plan::{self, Choice};
use crate::ports::{Ports, Reserved, parse_assignment, usual};
use crate::progress::Progress;
use crate::replica;
use crate::screen::Screen;
use crate::secrets::Secrets;
use crate::servers::compose;
use crate::signals::Signals;
use crate::state::Servers;
use crate::supervisor::{self, Plan, Supervisor};

pub(crate) use self::machine::prepare_servers;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  towpath up                        everything, in the foreground: Ctrl-C stops it, the data stays
  towpath up --detach               everything, in the background: `towpath down` stops it
  towpath up --ports auto           beside something else that uses the usual ports
  towpath up --port host=8080       one port, the others as usual
  towpath up --replicas 2           two pairs of relay and host, as two pods would be
  towpath up --no-host              all but the host; then `spin up` in the checkout, in another terminal
  towpath up --runtime spin         the same in one command, where Spin 4.1 is installed
  towpath up --servers compose      PostgreSQL, Kafka and Redis in containers, where Docker is installed

A second `up` on a running stack says so, shows where everything is, and ends with exit status 0.
Ports: host 3000, relay 7070 and 7071 (relay-admin), postgres-product 5433, postgres-order 5434, postgres-payment 5435,
postgres-inventory 5436, kafka 9092, kafka-external 29092, kafka-controller 9093, redis 6379; of a second replica host-2
3001, relay-2 7072 and 7073 (relay-admin-2), and so on. All of it listens on 127.0.0.1 alone: there are no logins yet.
The components' compiler: TOWPATH_WASM_TOOLCHAIN=rustup adds the target wasm32-wasip2 with rustup, =debian takes it from
Debian's packages, =auto (the default) tries the first and falls back to the second.")]
pub(crate) struct Args {
    /// Start in the background, and return once everything is ready
    #[arg(long, short)]
    detach: bool,
    /// Leave the components to a `spin up` of yours: writes Spin's .env into the checkout
    #[arg(long, conflicts_with = "runtime")]
    no_host: bool,
    /// What runs the components
    #[arg(long, value_enum, default_value = "embedded")]
    runtime: Runtime,
    /// How many pairs of relay and host: each host speaks to its own relay, each relay delivers to its own host
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(replica::MOST)))]
    replicas: u8,
    /// Who runs PostgreSQL, Kafka and Redis
    #[arg(long, value_enum, default_value = "native")]
    servers: Servers,
    /// The usual ports, or free ones that are found, and kept for the next time
    #[arg(long, value_enum, default_value = "default")]
    ports: PortChoice,
    /// Another port for one of them; can be repeated
    #[arg(long, value_name = "NAME=PORT", value_parser = parse_assignment)]
    port: Vec<(String, u16)>,
    /// Build no components: those that were built last are run
    #[arg(long)]
    no_build: bool,
    /// For data that nobody needs tomorrow: the servers don't wait for the disk
    #[arg(long, hide = true, env = "TOWPATH_THROW_AWAY", value_parser = clap::builder::FalseyValueParser::new())]
    throw_away: bool,
    /// What `--detach` starts
    #[arg(long, hide = true, conflicts_with = "detach")]
    in_background: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PortChoice {
    Default,
    Auto,
}

impl Args {
    fn choice(&self) -> Choice {
        let runtime = (!self.no_host).then_some(self.runtime);
        Choice { servers: self.servers, runtime, replicas: self.replicas.into(), throw_away: self.throw_away }
    }
}

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    if args.no_host && args.replicas > 1 {
        bail!(
            "--no-host leaves the components to one `spin up` of yours, and that speaks to one relay: leave out \
             --replicas, or --no-host"
        );
    }
    if args.in_background {
        rustix::process::setsid()?;
    }
    home.create()?;
    let Some(lock) = home.lock()? else { return words::already_runs(home) };
    let mut signals = Signals::new()?;
    let mut progress = Progress::begin();
    let prepared = tokio::select! {
        prepared = prepare(args, home, &lock, &mut progress) => prepared?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    if args.detach {
        // It takes both itself.
        drop((lock, prepared));
        return background::start(args, home, signals, &progress).await;
    }
    run(args, home, lock, prepared, signals, &progress).await
}

struct Prepared {
    ports: Ports,
    /// With `--ports auto`; held until everything has stopped.
    reserved: Option<Reserved>,
    secrets: Secrets,
    machine: Machine,
}

/// All that can be done before anything is started; what can go wrong soonest comes first.
async fn prepare(args: &Args, home: &Home, lock: &Lock, progress: &mut Progress) -> Result<Prepared> {
    let root = home::repository()?;
    let choice = args.choice();
    if choice.runtime == Some(Runtime::Spin) {
        edge::spin()?;
    }
    let left = supervisor::stop_leftovers(home, lock).await?;
    if !left.is_empty() {
        progress.say(&format!("Stopped what an `up` that was killed had left running: {}", left.join(", ")));
    }
    let (ports, reserved) = ports(args, home, &choice)?;
    let secrets = Secrets::load_or_create(home)?;
    if args.servers == Servers::Compose {
        if !args.in_background {
            progress.say("Preparing the containers (the first time their images are fetched)");
        }
        let project = compose::Project::new(home, &root.join("infra"));
        progress.step("containers", project.prepare(&ports, &secrets)).await?;
    }
    let build = !args.no_build && !args.in_background;
    let machine = machine::prepare(&root, args.servers, build, progress).await?;
    Ok(Prepared { ports, reserved, secrets, machine })
}

fn ports(args: &Args, home: &Home, choice: &Choice) -> Result<(Ports, Option<Reserved>)> {
    let (mut ports, reserved) = match args.ports {
        PortChoice::Default => (Ports::defaults(choice.replicas), None),
        PortChoice::Auto => {
            let names: Vec<String> = usual(choice.replicas).map(|(name, _)| name).collect();
            let (ports, reserved) = Ports::automatic(home, &names)?;
            (ports, Some(reserved))
        }
    };
    for (name, port) in &args.port {
        ports.set(name, *port)?;
    }
    ports.check_free(&choice.ports())?;
    if args.ports == PortChoice::Auto {
        ports.remember(home)?;
    }
    Ok((ports, reserved))
}

async fn run(
    args: &Args,
    home: &Home,
    lock: Lock,
    prepared: Prepared,
    mut signals: Signals,
    progress: &Progress,
) -> Result<ExitCode> {
    let root = home::repository()?;
    let (head, foot) = (head(args, &root, &prepared)?, words::foot(args, home, &prepared.ports)?);
    let Prepared { ports, reserved, secrets, machine } = prepared;
    let plan: Plan = plan::stack(home, &root, args.choice(), ports, &secrets, machine.jars.as_ref())?;
    let (supervisor, tasks) = Supervisor::new(home, lock, plan, Screen::new(head, foot))?;
    let booted = tokio::select! {
        booted = supervisor.boot(tasks) => Some(booted),
        () = signals.next() => None,
        () = supervisor.asked_to_stop() => None,
    };
    let result = match booted {
        None => Ok(ExitCode::from(INTERRUPTED)),
        Some(Err(error)) => Err(error),
        Some(Ok(())) => {
            for line in progress.summary() {
                supervisor.say(line);
            }
            if args.in_background {
                background::tell_ready();
            }
            tokio::select! {
                () = signals.next() => {}
                () = supervisor.asked_to_stop() => {}
            }
            Ok(ExitCode::SUCCESS)
        }
    };
    supervisor.shut_down(async { signals.next().await }).await;
    drop(reserved);
    result
}

fn head(args: &Args, root: &Path, prepared: &Prepared) -> Result<Vec<String>> {
    let Prepared { ports, secrets, .. } = prepared;
    if args.no_host {
        let file = edge::write_dot_env(root, &Surroundings { ports, secrets, servers: args.servers })?;
        return Ok(words::without_host(root, &file, ports.get("host")?));
    }
    Ok(vec![format!("Towpath is up: {}", args.choice().urls(ports)?.join(", ")), String::new()])
}
