//! Owns the processes of a stack: starts them in the order of their dependencies, restarts those that die, and stops them in
//! reverse order within deadlines. All of it runs on the main thread's runtime (see [`spec::Launch::command`] for why).
mod boot;
mod deaths;
mod detour;
mod events;
mod family;
pub(crate) mod leftovers;
pub(crate) mod logs;
mod part;
pub(crate) mod probe;
mod recorder;
mod server;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use futures::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use towpath_stack::home::{Home, Lock};
use towpath_stack::process::Identity;
use towpath_stack::state::{Phase, State};

use self::events::{Event, recorded};
use self::part::Handle;
use self::recorder::Recorder;
use self::server::Server;
use self::spec::{PartSpec, Task, Tier};
use crate::dot_env::DotEnv;
use crate::screen::Screen;

/// What a stack consists of.
pub(crate) struct Plan {
    pub(crate) parts: Vec<PartSpec>,
    pub(crate) tasks: Vec<Task>,
    /// The state to write down, still without parts.
    pub(crate) state: State,
}

/// A stack that is being run.
pub(crate) struct Supervisor {
    parts: Vec<Handle>,
    events: mpsc::UnboundedSender<Event>,
    recorder: JoinHandle<()>,
    logs: JoinHandle<()>,
    force: watch::Sender<bool>,
    control: Server,
    _lock: Lock,
}

impl Supervisor {
    /// Takes the stack over: from here on the home has a state file and a control socket. Nothing is started yet; the
    /// plan's tasks are what [`Self::boot`] wants.
    pub(crate) fn new(home: &Home, lock: Lock, plan: Plan, screen: Screen) -> Result<(Self, Vec<Task>)> {
        let (events, incoming) = mpsc::unbounded_channel();
        let (force, forced) = watch::channel(false);
        let parts: Vec<Handle> =
            plan.parts.into_iter().map(|spec| Handle::new(spec, events.clone(), forced.clone())).collect();
        let control = Server::listen(home, parts.clone())?;
        let recorder =
            Recorder { home: home.clone(), state: plan.state, parts: parts.clone(), screen, events: incoming };
        let recorder = tokio::spawn(recorder.follow());
        let logs = tokio::spawn(logs::rotation::keep(home.logs(), events.clone()));
        Ok((Self { parts, events, recorder, logs, force, control, _lock: lock }, plan.tasks))
    }

    /// Starts everything and waits until all of it is ready.
    pub(crate) async fn boot(&self, tasks: Vec<Task>) -> Result<()> {
        self.phase(Phase::Starting).await;
        boot::boot(&self.parts, tasks, &self.events).await?;
        self.phase(Phase::Up).await;
        Ok(())
    }

    /// Waits until `towpath down` asks for the end.
    pub(crate) async fn asked_to_stop(&self) {
        self.control.asked_to_stop().await;
    }

    /// Puts a line on the screen.
    pub(crate) fn say(&self, text: String) {
        let _ = self.events.send(Event::Said(text));
    }

    /// Stops all parts, the edge first. What is stopped when `hurry` comes true is killed at once.
    pub(crate) async fn shut_down(self, hurry: impl Future<Output = ()>) {
        // No command may restart a part that is being stopped.
        self.control.close();
        self.phase(Phase::Stopping).await;
        let stopping = async {
            for tier in Tier::STOPPING {
                join_all(self.parts.iter().filter(|part| part.spec.tier == tier).map(Handle::stop)).await;
            }
        };
        tokio::pin!(stopping);
        tokio::select! {
            () = &mut stopping => {}
            () = hurry => {
                let _ = self.force.send(true);
                stopping.await;
            }
        }
        self.phase(Phase::Stopped).await;
        self.logs.abort();
        self.recorder.abort();
    }

    async fn phase(&self, phase: Phase) {
        if self.events.send(Event::Phase(phase)).is_ok() {
            recorded(&self.events).await;
        }
    }
}

/// Stops what an earlier supervisor of this home left behind, removes the file with tokens that it made, and says what ran.
pub(crate) async fn stop_leftovers(home: &Home, _lock: &Lock) -> Result<Vec<String>> {
    let state = State::load(home)?;
    let left = leftovers::stop(home, state.as_ref()).await;
    if let Some(file) = state.and_then(|state| state.dot_env) {
        DotEnv::at(file, home).remove();
    }
    Ok(left)
}

/// This process, as the state file names it.
pub(crate) fn this_supervisor() -> Result<Identity> {
    Identity::of_this_process().context("cannot read /proc: Towpath supervises its parts on Linux only")
}
