//! A detour: parts that run with other variables for a while, such as the addresses of fault proxies. The supervisor
//! restarts them with these variables over their own, and once more without them afterwards.
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};
use towpath_stack::control::Environments;
use towpath_stack::state::PartState;

use super::part::Handle;
use super::spec::Tier;

/// Locked by the one detour that there can be.
pub(crate) type DetourSlot = Arc<Mutex<()>>;

/// Until it is ended, every start of its parts uses its variables.
pub(crate) struct Detour {
    parts: Vec<Handle>,
    _slot: OwnedMutexGuard<()>,
}

impl Detour {
    /// Starts the parts again with these variables, and returns once they are ready. Where one doesn't get ready, all are
    /// as they were before.
    pub(crate) async fn begin(all: &[Handle], slot: &DetourSlot, environments: Environments) -> Result<Self> {
        let Ok(slot) = Arc::clone(slot).try_lock_owned() else {
            bail!("there is a detour already: one at a time, and it ends with the program that asked for it");
        };
        let mut parts = Vec::new();
        for (name, variables) in &environments {
            let part = Handle::find(all, name)?;
            check(part, variables)?;
            parts.push(part.clone());
        }
        for part in &parts {
            part.divert(environments.get(part.name()).cloned().unwrap_or_default());
        }
        let detour = Self { parts, _slot: slot };
        match restart(&detour.parts).await {
            Ok(()) => Ok(detour),
            Err(error) => {
                detour.end().await?;
                Err(error.context("the detour is given up"))
            }
        }
    }

    /// Starts the parts again as they were, and returns once they are ready.
    pub(crate) async fn end(self) -> Result<()> {
        for part in &self.parts {
            part.divert(BTreeMap::new());
        }
        restart(&self.parts).await
    }
}

/// A misspelt variable would divert nothing, without an error.
fn check(part: &Handle, variables: &BTreeMap<String, String>) -> Result<()> {
    let launch = &part.spec.launch;
    let known = |name: &&String| launch.environment.contains_key(*name) || launch.optional.contains(*name);
    let Some(unknown) = variables.keys().find(|name| !known(name)) else { return Ok(()) };
    let known: Vec<&str> = launch.environment.keys().chain(&launch.optional).map(String::as_str).collect();
    bail!("{} reads no variable {unknown}: it reads {}", part.name(), known.join(", "))
}

/// Stops from the edge inwards and starts outwards, as the whole stack does. A part that was stopped by command stays stopped.
async fn restart(parts: &[Handle]) -> Result<()> {
    let stands = |part: &&Handle| part.status.borrow().state != PartState::Stopped;
    let running: Vec<&Handle> = parts.iter().filter(stands).collect();
    let of = |tier: Tier| running.iter().filter(move |part| part.spec.tier == tier);
    for tier in Tier::STOPPING {
        join_all(of(tier).map(|part| part.stop())).await;
    }
    let mut failed = Vec::new();
    for tier in Tier::STOPPING.into_iter().rev() {
        let started = join_all(of(tier).map(|part| part.start())).await;
        failed.extend(started.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!(failed.join("; ")),
    }
}
