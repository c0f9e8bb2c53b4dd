//! `towpath up`: everything, from missing packages to a seeded catalogue, and then watching over it.
mod args;
mod background;
mod machine;
mod words;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use towpath_stack::checkout;
use towpath_stack::home::{Home, Lock};
use towpath_stack::ports::{Ports, Reserved, usual};
use towpath_stack::secrets::Secrets;
use towpath_stack::signals::Signals;
use towpath_stack::state::Servers;
use towpath_stack::surroundings::Surroundings;

use self::args::PortChoice;
use self::machine::Machine;
use super::INTERRUPTED;
use crate::edge::{self, Runtime};
use crate::plan::{self, Choice};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::servers::compose;
use crate::supervisor::{self, Plan, Supervisor};

pub(crate) use self::args::Args;
pub(crate) use self::machine::prepare_servers;

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
    let root = checkout::repository()?;
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
    if args.servers() == Servers::Compose {
        if !args.in_background {
            progress.say("Preparing the containers (the first time their images are fetched)");
        }
        let project = compose::Project::new(home, &root.join("infra"));
        progress.step("containers", project.prepare(&ports, &secrets)).await?;
    }
    let build = !args.no_build && !args.in_background;
    let machine = machine::prepare(&root, args.servers(), build, progress).await?;
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
    let root = checkout::repository()?;
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
        let file = edge::write_dot_env(root, &Surroundings { ports, secrets, servers: args.servers() })?;
        return Ok(words::without_host(root, &file, ports.get("host")?));
    }
    Ok(vec![format!("Towpath is up: {}", args.choice().urls(ports)?.join(", ")), String::new()])
}
