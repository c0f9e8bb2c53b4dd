//! `towpath up`: starts everything, from missing packages to a seeded catalogue, and supervises it until it is stopped.
mod args;
mod background;
mod machine;
mod messages;
mod running;

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
use towpath_stack::state::{Phase, Servers, State};
use towpath_stack::surroundings::Surroundings;
use towpath_stack::terminal::say;

use self::args::PortChoice;
use self::machine::Machine;
use super::INTERRUPTED;
use crate::clock;
use crate::dot_env::DotEnv;
use crate::edge::Runtime;
use crate::plan::{self, Choice};
use crate::progress::Progress;
use crate::readiness;
use crate::screen::Screen;
use crate::servers::compose;
use crate::spin;
use crate::supervisor::{self, Plan, Supervisor};

pub(crate) use self::args::Args;
pub(crate) use self::machine::{prepare_kafka, prepare_programs};

/// How long a stack whose parts all answer may take until no relay misses anything, before `up` says what is missing.
const MAX_UNREADY: Duration = Duration::from_secs(10);
/// How often an `up` that waits for another one looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn command(args: &Args, home: &Home) -> Result<ExitCode> {
    let args = &args.clone().with_environment()?;
    if args.no_host && args.replicas() > 1 {
        bail!(
            "--no-host leaves the components to one `spin up` of yours, and that speaks to one relay: leave out \
             --replicas, or --no-host"
        );
    }
    if args.in_background {
        rustix::process::setsid()?;
    }
    let services = Services::load()?;
    check_names(args, home, &services)?;
    machine::room(home)?;
    if !args.in_background {
        clock::doubt().iter().for_each(|doubt| say(doubt));
    }
    home.create()?;
    let mut signals = Signals::new()?;
    let taken = tokio::select! {
        taken = take(args, home) => taken?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let Some(lock) = taken else { return running::already_runs(args, home) };
    let mut progress = Progress::begin();
    let prepared = tokio::select! {
        prepared = prepare(args, home, services, &lock, &mut progress) => prepared?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    if args.detach {
        // It reserves them itself.
        drop(prepared);
        return background::start(args, home, lock, signals, &progress).await;
    }
    run(args, home, lock, prepared, signals, &progress).await
}

/// Refuses a port that no part has before anything is made or waited for.
fn check_names(args: &Args, home: &Home, services: &Services) -> Result<()> {
    let ports = match State::current(home)?.filter(|state| state.phase != Phase::Stopped) {
        Some(state) if args.replicas.is_none() => state.ports,
        _ => Ports::defaults(services, args.replicas()),
    };
    args.port.iter().try_for_each(|(name, port)| ports.clone().set(name, *port))
}

/// The lock of the home; none where a stack runs there. With --detach, an `up` that is still starting is waited for.
async fn take(args: &Args, home: &Home) -> Result<Option<Lock>> {
    if args.in_background
        && let Some(lock) = home.lock_of_starter()?
    {
        return Ok(Some(lock));
    }
    let mut said = false;
    loop {
        if let Some(lock) = home.lock()? {
            if said {
                say("The other `towpath up` has ended: this one starts the stack.");
            }
            return Ok(Some(lock));
        }
        let up = State::current(home)?.is_some_and(|state| matches!(state.phase, Phase::Up | Phase::Stopping));
        if up || !args.detach {
            return Ok(None);
        }
        if !said {
            said = true;
            let place = home.path().display();
            say(&format!(
                "Another `towpath up` is starting the stack under {place}: waiting for it (Ctrl-C ends the wait)."
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
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
async fn prepare(
    args: &Args,
    home: &Home,
    services: Services,
    lock: &Lock,
    progress: &mut Progress,
) -> Result<Prepared> {
    let root = checkout::repository()?;
    let choice = args.choice();
    if choice.runtime == Some(Runtime::Spin) {
        spin::check().await?;
    }
    if choice.runtime.is_none() {
        DotEnv::new(&checkout::application()?, home).check()?;
    }
    let left = supervisor::stop_leftovers(home, lock).await?;
    if !left.is_empty() {
        progress.say(&format!("Stopped what an `up` that was killed had left running: {}", left.join(", ")));
    }
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
    let automatic = match args.ports {
        Some(PortChoice::Default) => false,
        Some(PortChoice::Auto) => true,
        None => Ports::are_remembered(home),
    };
    let (mut ports, reserved) = match automatic {
        false => (Ports::defaults(services, choice.replicas), None),
        true => {
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
    if automatic {
        ports.remember(home)?;
    } else {
        Ports::forget(home)?;
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
    let application = checkout::application()?;
    let dot_env = args.no_host.then(|| DotEnv::new(&application, home));
    let head = head(args, &application, dot_env.as_ref(), &prepared.ports)?;
    let foot = messages::foot(args, home, &prepared.ports)?;
    let surroundings = prepared.surroundings(args.servers());
    let mut plan: Plan = plan::stack(home, &root, args.choice(), &surroundings, prepared.machine.jars.as_ref())?;
    plan.state.dot_env = dot_env.as_ref().map(|dot_env| dot_env.file().to_path_buf());
    let (supervisor, tasks) = Supervisor::new(home, lock, plan, Screen::new(head, foot))?;
    let relays = readiness::addresses(&prepared.ports);
    let boot = async {
        supervisor.boot(tasks).await?;
        // It is in the state file by now: also where this program is killed, `down` finds it.
        dot_env.as_ref().map_or(Ok(()), |dot_env| dot_env.write(&surroundings))?;
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
    if let Some(dot_env) = &dot_env {
        dot_env.remove();
    }
    drop(prepared.reserved);
    result
}

fn head(args: &Args, application: &Path, dot_env: Option<&DotEnv>, ports: &Ports) -> Result<Vec<String>> {
    if let Some(dot_env) = dot_env {
        return Ok(messages::without_host(application, dot_env.file(), ports.get("host")?));
    }
    Ok(vec![format!("Towpath is up: {}", args.choice().urls(ports)?.join(", ")), String::new()])
}
