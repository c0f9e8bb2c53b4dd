//! SIGKILL of each part; the supervisor starts it again.
//!
//! PostgreSQL dies in two ways, drawn by chance. Its first process alone may be killed, as the kernel's memory killer
//! does: then its children find out one after the other, and some still finish what they are at, a COMMIT for example,
//! whose answer arrives or doesn't. Or all of them at once, as when the machine loses power: what they had not written
//! is recovered from the log, or never was.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;

use super::parts::{self, Kind};
use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// Longer than any part takes to be ready again, with the supervisor's longest pause before it.
pub(super) const BACK_AFTER: Duration = Duration::from_secs(120);

/// SIGKILL of one part.
pub(super) struct Kill {
    part: String,
    kind: Kind,
}

pub(super) fn all(stage: &Stage) -> Vec<Box<dyn Fault>> {
    parts::of_stack(stage).into_iter().map(|(part, kind)| Box::new(Kill { part, kind }) as _).collect()
}

impl Fault for Kill {
    fn name(&self) -> String {
        format!("kill-{}", self.part)
    }

    fn group(&self) -> Group {
        Group::Kill
    }

    fn about(&self) -> String {
        format!("SIGKILL of {}", self.part)
    }

    fn duration(&self) -> Duration {
        usual_return(self.kind)
    }

    fn blast(&self, _: &Stage) -> Blast {
        self.kind.blast()
    }

    fn strike<'a>(&'a self, stage: &'a Stage, random: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(kill(stage, &self.part, self.kind, random))
    }
}

/// How long a part is away that was killed, usually.
pub(super) fn usual_return(kind: Kind) -> Duration {
    Duration::from_secs(match kind {
        Kind::Kafka => 12,
        Kind::Postgres(_) => 5,
        Kind::Redis => 2,
        Kind::Relay(_) | Kind::Host(_) => 4,
    })
}

/// Kills a part, and waits until it is ready again in another process.
pub(super) async fn kill(stage: &Stage, part: &str, kind: Kind, random: &mut StdRng) -> Result<Struck> {
    let process = parts::process(stage, part)?;
    let whole = matches!(kind, Kind::Postgres(_)) && random.random_bool(0.5);
    let killed = if whole { parts::tree(&process) } else { vec![process.clone()] };
    for process in &killed {
        parts::signal(process, Signal::KILL)?;
    }
    let back_after = stage.until_replaced(part, process.pid, BACK_AFTER).await?;
    let others = match killed.len() - 1 {
        0 => String::new(),
        others => format!(" and its {others} children"),
    };
    let seconds = back_after.as_secs_f64();
    Ok(Struck::noted(format!("killed {part} (pid {}){others}, ready again after {seconds:.1} s", process.pid)))
}
