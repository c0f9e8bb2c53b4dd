//! One of several pairs of host and relay goes and comes back, as pods do: by force, gracefully, or all of them one after
//! the other. What each of these must leave unbroken is watched by [`Continuity`].
//!
//! What is stopped stays away for longer than a lease, so that the other pairs take its work over, also that of a relay
//! whose own host is away: it can't deliver, and leaves its partitions and timers to others until it can.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio::task::spawn_blocking;
use towpath_stack::control::{self, Request};

use super::continuity::Continuity;
use super::kill;
use super::parts::Kind;
use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// Until what was late is handled.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// Longer than a lease.
const AWAY: Duration = Duration::from_secs(12);
const RESTARTS: usize = 10;
const BETWEEN_RESTARTS: Duration = Duration::from_millis(500);
/// How long one restart takes, usually.
const RESTART: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Killed,
    Stopped,
}

/// One part of one pair.
struct Gone {
    way: Way,
    kind: Kind,
    /// As the stack names it; the first of its kind has no number.
    part: String,
    /// With a number, also the first.
    numbered: String,
}

pub(super) fn all(stage: &Stage) -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = Vec::new();
    for way in [Way::Killed, Way::Stopped] {
        for replica in 1..=stage.urls.len().max(2) {
            for (name, kind) in [("relay", Kind::Relay(replica)), ("host", Kind::Host(replica))] {
                let numbered = format!("{name}-{replica}");
                let part = if replica == 1 { name.to_owned() } else { numbered.clone() };
                all.push(Box::new(Gone { way, kind, part, numbered }));
            }
        }
    }
    all.push(Box::new(Rolling));
    all
}

fn needs_replicas(stage: &Stage) -> Option<String> {
    (stage.urls.len() < 2).then(|| "needs `towpath up --replicas 2`".to_owned())
}

/// How many relays stop with this part.
fn relays(kind: Kind) -> i64 {
    i64::from(matches!(kind, Kind::Relay(_)))
}

impl Fault for Gone {
    fn name(&self) -> String {
        match self.way {
            Way::Killed => format!("replica-kill-{}", self.numbered),
            Way::Stopped => format!("replica-stop-gracefully-{}", self.numbered),
        }
    }

    fn group(&self) -> Group {
        Group::Replicas
    }

    fn about(&self) -> String {
        match self.way {
            Way::Killed => format!("SIGKILL of {}; the other pair goes on", self.part),
            Way::Stopped => format!("{} is stopped, and started {} s later", self.part, AWAY.as_secs()),
        }
    }

    fn duration(&self) -> Duration {
        AFTERWARDS
            + match self.way {
                Way::Killed => kill::usual_return(self.kind),
                Way::Stopped => RESTART + AWAY,
            }
    }

    fn impossible(&self, stage: &Stage) -> Option<String> {
        needs_replicas(stage)
    }

    fn blast(&self, _: &Stage) -> Blast {
        self.kind.blast()
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let watched = Continuity::begin(stage).await?;
            let mut struck = match self.way {
                Way::Killed => kill::kill(stage, &self.part, self.kind, random).await?,
                Way::Stopped => {
                    let stopped = ask(stage, Request::Stop { part: self.part.clone() }).await?;
                    tokio::time::sleep(AWAY).await;
                    let started = ask(stage, Request::Start { part: self.part.clone() }).await?;
                    let stopped = stopped.split(" (").next().unwrap_or_default();
                    Struck::noted(format!("{stopped}, then {started}"))
                }
            };
            watched.end(stage, relays(self.kind), &mut struck).await?;
            Ok(struck)
        })
    }
}

/// All parts of all pairs, one after the other, round and round.
struct Rolling;

impl Fault for Rolling {
    fn name(&self) -> String {
        "rolling-restarts".to_owned()
    }

    fn group(&self) -> Group {
        Group::Replicas
    }

    fn about(&self) -> String {
        format!("{RESTARTS} graceful restarts, one part after the other")
    }

    fn duration(&self) -> Duration {
        (RESTART + BETWEEN_RESTARTS) * RESTARTS as u32 + AFTERWARDS
    }

    fn impossible(&self, stage: &Stage) -> Option<String> {
        needs_replicas(stage)
    }

    fn blast(&self, stage: &Stage) -> Blast {
        let all: BTreeSet<usize> = (1..=stage.urls.len()).collect();
        Blast { refused_by: all.clone(), unreachable: all, ..Blast::none() }
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let watched = Continuity::begin(stage).await?;
            let mut parts = super::parts::of_stack(stage);
            parts.retain(|(_, kind)| matches!(kind, Kind::Relay(_) | Kind::Host(_)));
            let mut relays_stopped = 0;
            for (part, kind) in parts.iter().cycle().take(RESTARTS) {
                ask(stage, Request::Restart { part: part.clone() }).await?;
                relays_stopped += relays(*kind);
                tokio::time::sleep(BETWEEN_RESTARTS).await;
            }
            let names: Vec<&str> = parts.iter().map(|(part, _)| part.as_str()).collect();
            let mut struck = Struck::noted(format!("restarted {} {RESTARTS} times in turn", names.join(", ")));
            watched.end(stage, relays_stopped, &mut struck).await?;
            Ok(struck)
        })
    }
}

async fn ask(stage: &Stage, request: Request) -> Result<String> {
    let home = stage.home.clone();
    spawn_blocking(move || control::ask(&home, &request)).await?
}
