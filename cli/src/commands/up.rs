//! `towpath up`: starts everything, from missing packages to a seeded catalogue, and supervises it until it is stopped.
mod args;
mod background;
mod machine;
mod messages;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::{Home, Lock};
use towpath_stack::ports::{Ports, Reserved, usual};
use towpath_stack::secrets::Secrets;
use towpath_stack::services::Services;
use towpath_stack::signals::Signals;
use towpath_stack::state::Servers;
use towpath_stack::surroundings::Surroundings;

use self::args::PortChoice;
use self::machine::Machine;
use super::INTERRUPTED;
use crate::edge::{self, Runtime};
use crate::plan::{self, Choice};
use crate::progress::Progress;
use crate::readiness;
use crate::screen::Screen;
use crate::servers::compose;
use crate::supervisor::{self, Plan, Supervisor};

pub(crate) use self::args::Args;
pub(crate) use self::machine::{prepare_kafka, prepare_programs};

/// How long a stack whose parts all answer may take until no relay misses anything, before `up` says what is missing.
const MAX_UNREADY: Duration = Duration::from_secs(10);

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
    let Some(lock) = home.lock()? else { return messages::already_runs(home) };
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
    services: Services,
    secrets: Secrets,
    machine: Machine,
}

impl Prepared {
    fn surroundings(&self, servers: Servers) -> Surroundings<'_> {
        Surroundings { ports: &self.ports, services: &self.services, secrets: &self.secrets, servers }
    }
}

/// All that can be done before anything is started; what can go wrong soonest comes first.
async fn prepare(args: &Args, home: &Home, lock: &Lock, progress: &mut Progress) -> Result<Prepared> {
    let root = checkout::repository()?;
    let choice = args.choice();
    if choice.runtime == Some(Runtime::Spin) {
        edge::spin()?;
    }
    let left = supervisor::stop_leftovers(home, lock).await?;
    if !left.is_empty() {
        progress.say(&format!("Stopped what an `up` that was killed had left running: {}", left.join(", ")));
    }
    let services = Services::load()?;
    let (ports, reserved) = ports(args, home, &choice, &services)?;
    let secrets = Secrets::load_or_create(home, &services)?;
    if args.servers() == Servers::Compose {
        if !args.in_background {
            progress.say("Preparing the containers (the first time their images are fetched)");
        }
        let (ports, services, secrets) = (&ports, &services, &secrets);
        let surroundings = Surroundings { ports, services, secrets, servers: choice.servers };
        let project = compose::Project::new(home, &root.join("infra"));
        progress.step("containers", project.prepare(&surroundings)).await?;
    }
    let build = !args.no_build && !args.in_background;
    let machine = machine::prepare(&root, &services, args.servers(), build, progress).await?;
    Ok(Prepared { ports, reserved, services, secrets, machine })
}

fn ports(args: &Args, home: &Home, choice: &Choice, services: &Services) -> Result<(Ports, Option<Reserved>)> {
    let (mut ports, reserved) = match args.ports {
        PortChoice::Default => (Ports::defaults(services, choice.replicas), None),
        PortChoice::Auto => {
            let names: Vec<String> = usual(services, choice.replicas).map(|(name, _)| name).collect();
            let (ports, reserved) = Ports::automatic(home, &names)?;
            (ports, Some(reserved))
        }
    };
    if choice.runtime != Some(Runtime::Embedded) {
        ports.without_deliveries();
    }
    for (name, port) in &args.port {
        ports.set(name, *port)?;
    }
    ports.check_free(&choice.ports(services))?;
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
    let root = checkout::repository()?;
    let (head, foot) =
        (head(args, &checkout::application()?, &prepared)?, messages::foot(args, home, &prepared.ports)?);
    let surroundings = prepared.surroundings(args.servers());
    let plan: Plan = plan::stack(home, &root, args.choice(), &surroundings, prepared.machine.jars.as_ref())?;
    let (supervisor, tasks) = Supervisor::new(home, lock, plan, Screen::new(head, foot))?;
    let relays = readiness::addresses(&prepared.ports);
    let boot = async {
        supervisor.boot(tasks).await?;
        // The parts answer; what a relay still misses doesn't keep the rest from working. Without a host, it misses that.
        let patience = if args.no_host { Duration::ZERO } else { MAX_UNREADY };
        anyhow::Ok(readiness::wait(&relays, patience).await)
    };
    let booted = tokio::select! {
        booted = boot => Some(booted),
        () = signals.next() => None,
        () = supervisor.asked_to_stop() => None,
    };
    let result = match booted {
        None => Ok(ExitCode::from(INTERRUPTED)),
        Some(Err(error)) => Err(error),
        Some(Ok(missing)) => {
            for line in progress.summary().into_iter().chain(missing) {
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
    drop(prepared.reserved);
    result
}

fn head(args: &Args, application: &Path, prepared: &Prepared) -> Result<Vec<String>> {
    let ports = &prepared.ports;
    if args.no_host {
        let file = edge::write_dot_env(application, &prepared.surroundings(args.servers()))?;
        return Ok(messages::without_host(application, &file, ports.get("host")?));
    }
    Ok(vec![format!("Towpath is up: {}", args.choice().urls(ports)?.join(", ")), String::new()])
}
