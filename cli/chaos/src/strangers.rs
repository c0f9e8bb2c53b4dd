//! Attacks of strangers against the running stack: each holds or asks for more than anybody needs, while others go on. What
//! counts is what the others see, and that the memory comes back.

mod attacks;
mod connection;
mod crowd;
mod others;
mod report;

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use towpath_stack::process;
use towpath_stack::terminal::say;

use super::stage::Stage;
use attacks::{ATTACKS, Target};
use others::Others;
pub(crate) use report::Report;
use report::{Memory, Row};

/// How long an attack lasts, and when its memory must be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// Seconds for each attack; the memory is waited for once, after the last.
    Short,
    /// Half a minute for each attack; the memory is waited for after each.
    Long,
}

impl Form {
    fn attack(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(3),
            Self::Long => Duration::from_secs(30),
        }
    }

    /// How long others are looked at before and after.
    fn calm(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(1),
            Self::Long => Duration::from_secs(5),
        }
    }
}

/// After this time at most, the memory is back.
const MEMORY_BACK: Duration = Duration::from_secs(60);
/// How much more than before may stay: this share, or so many MiB where that is more: those are noise in a process of 40 MiB.
const MAX_KEPT: f64 = 0.10;
const MAX_KEPT_MIB: f64 = 8.0;
/// Memory has settled when for so long ...
const SETTLED: Duration = Duration::from_secs(6);
/// ... it has not fallen by so much; and it is taken as it is after this time.
const SETTLED_MIB: f64 = 0.5;
const MAX_SETTLING: Duration = Duration::from_secs(20);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Lets every attack run, one after the other.
///
/// # Errors
/// Where the stack can't be reached, or ends.
pub(crate) async fn run(stage: &Stage, form: Form) -> Result<Report> {
    raise_descriptors();
    let target = Target::of(stage)?;
    let mut others = Others::begin(stage)?;
    say("a crowd of clients comes and goes first: what a stack that has worked holds is no stranger's doing");
    crowd::come(&stage.urls[0]).await?;
    let since = others.now();
    let begun = settled(stage).await?;
    let mut before = others.saw(since).await;
    others.are_calm(&before);
    let mut rows = Vec::new();
    for attack in ATTACKS {
        say(&format!("{}: {}", attack.name, attack.about));
        let memory_before = memory(stage)?;
        let over = CancellationToken::new();
        let running = tokio::spawn((attack.run)(target.clone(), over.clone()));
        let (since, begun) = (others.now(), Instant::now());
        let mut most = memory_before;
        while begun.elapsed() < form.attack() {
            tokio::time::sleep(LOOK).await;
            most = most.max(memory(stage)?);
        }
        let meanwhile = others.saw(since).await;
        over.cancel();
        running.await?;
        let after = others.see(form.calm()).await;
        let back = match form {
            Form::Long => Some(until_back(stage, memory_before).await?),
            Form::Short => None,
        };
        let memory = Memory { before: memory_before, most, after: back };
        rows.push(Row::new(attack, target.efforts(), [before, meanwhile, after.clone()], memory));
        before = after;
    }
    let end = until_back(stage, begun).await?;
    Ok(Report::new(rows, others.in_time(), begun, end))
}

/// The resident memory of host and relay in MiB, without pages of files: those are programs that the kernel keeps as long as it
/// has room, not what anybody holds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Resident {
    pub(crate) host: f64,
    pub(crate) relay: f64,
}

impl Resident {
    fn max(self, other: Self) -> Self {
        Self { host: self.host.max(other.host), relay: self.relay.max(other.relay) }
    }

    /// Whether no more than a tenth more is held than `before`, or 8 MiB.
    pub(crate) fn is_back_to(self, before: Self) -> bool {
        let is_back = |now: f64, before: f64| now <= before + (before * MAX_KEPT).max(MAX_KEPT_MIB);
        is_back(self.host, before.host) && is_back(self.relay, before.relay)
    }
}

/// Waits until the memory has not become less for a while. Instances that are idle end after a second, and the allocator gives
/// pages back in ten.
async fn settled(stage: &Stage) -> Result<Resident> {
    let begun = Instant::now();
    let (mut least, mut since) = (memory(stage)?, begun);
    while since.elapsed() < SETTLED && begun.elapsed() < MAX_SETTLING {
        tokio::time::sleep(LOOK).await;
        let now = memory(stage)?;
        if now.host < least.host - SETTLED_MIB || now.relay < least.relay - SETTLED_MIB {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}

/// Waits until the memory is back, a minute at most. Returns what is held then.
async fn until_back(stage: &Stage, before: Resident) -> Result<Resident> {
    let since = Instant::now();
    loop {
        let now = memory(stage)?;
        if now.is_back_to(before) || since.elapsed() > MEMORY_BACK {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn memory(stage: &Stage) -> Result<Resident> {
    let of_all = |part: &str| -> Result<f64> {
        let pid = stage.pid(part)?;
        // `spin trigger http` descends from `spin up`. One that ends in this moment has no memory any more.
        let descendants = process::descendants(pid).into_iter().filter_map(|child| resident_mib(child.pid).ok());
        Ok(resident_mib(pid)? + descendants.sum::<f64>())
    };
    Ok(Resident { host: of_all("host")?, relay: of_all("relay")? })
}

fn resident_mib(pid: u32) -> Result<f64> {
    use anyhow::Context as _;
    let file = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let kib = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.with_context(|| format!("{file} has no {name}"))
    };
    Ok((kib("RssAnon")? + kib("RssShmem")?) / 1024.0)
}

/// Each connection of an attack is an open file.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_back_when_a_tenth_more_is_held_or_8_mib() {
        let before = Resident { host: 100.0, relay: 50.0 };
        assert!(Resident { host: 110.0, relay: 58.0 }.is_back_to(before));
        assert!(!Resident { host: 110.1, relay: 50.0 }.is_back_to(before));
        assert!(!Resident { host: 90.0, relay: 58.1 }.is_back_to(before));
    }

    #[test]
    fn what_a_process_holds_counts() {
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let resident = resident_mib(std::process::id()).expect("this process runs");
        assert!(resident >= 64.0, "{resident} MiB");
        drop(held);
    }
}
