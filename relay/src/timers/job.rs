//! Runs a job on a schedule, on one relay at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lease::{Claim, Schedule, Turn, Watch};
use super::look::Eye;
use crate::clock::Moment;
use crate::panics::caught;
use crate::service::Service;

/// A wait is cut into pieces no longer than this, so that a schedule that was changed is seen.
const MAX_WAIT: Duration = Duration::from_secs(10);
const MIN_WAIT: Duration = Duration::from_millis(5);
/// The wait after the database failed.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often the holder of a lease looks whether it still holds it: a machine that was suspended goes on where it was.
const SAFE_EVERY: Duration = Duration::from_millis(250);
/// A timer that is due is called within moments, or after the lease of a relay that died; no watchdog bites before that.
const MIN_PATIENCE: Duration = Duration::from_secs(5);

/// Work that runs on a schedule.
pub(super) trait Job: Sync {
    /// Whether to take a turn now.
    fn ready(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Does the work that was due at this time. Dropped if the lease is lost; ends by itself when the relay stops.
    fn run(&self, due: &str) -> impl Future<Output = Ended> + Send;
}

/// Runs `job` on a schedule, on one relay at a time, until the relay stops calling. Begins anew where the job panics, or where
/// it is due for longer than a period and a takeover last and nobody runs it.
pub(super) async fn keep_running(
    service: &Arc<Service>,
    name: &str,
    every: Duration,
    job: &impl Job,
) -> anyhow::Result<()> {
    let stop = service.lifecycle.stop_calling.clone();
    let schedule = Schedule {
        role: service.relay_role()?,
        name: name.to_owned(),
        holder: service.instance.to_string(),
        every,
        lease: Duration::from_millis(service.limits().lease_ms),
    };
    let patience = every + (schedule.lease * 2).max(MIN_PATIENCE);
    let mut watchdog = service.watchdog("timer", patience).of(name);
    let is_ready = Arc::new(AtomicBool::new(true));
    let mut eye = Eye::new(schedule.clone(), Arc::clone(&is_ready), stop.clone());
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = caught(Box::pin(take_turns(service, &schedule, job, &is_ready))) => ended,
            () = Box::pin(watchdog.until_stuck(&mut eye)) => Ok(()),
        };
        if let Err(cause) = ended {
            watchdog.failed(&cause);
            let _ = stop.run_until_cancelled(sleep(RETRY_AFTER)).await;
        }
    }
    Ok(())
}

async fn take_turns(service: &Service, schedule: &Schedule, job: &impl Job, is_ready: &AtomicBool) {
    let stop = &service.lifecycle.stop_calling;
    let (mut failing, mut watch) = (false, Watch::default());
    while !stop.is_cancelled() {
        let wait = match run_if_due(service, schedule, job, &mut watch, is_ready).await {
            Ok(wait) => {
                failing = false;
                wait.clamp(MIN_WAIT, MAX_WAIT)
            }
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    let cause = format!("{cause:#}");
                    tracing::warn!(
                        service = &*service.name,
                        timer = schedule.name,
                        cause,
                        "reading a timer from PostgreSQL failed; retrying"
                    );
                }
                RETRY_AFTER
            }
        };
        let _ = stop.run_until_cancelled(sleep(wait)).await;
    }
}

/// How a job ended.
pub(super) enum Ended {
    /// The work is done.
    Done,
    /// It stopped before: another relay shall do the work.
    Stopped,
}

/// Runs the job if it is due. Answers how long to wait before looking again.
async fn run_if_due(
    service: &Service,
    schedule: &Schedule,
    job: &impl Job,
    watch: &mut Watch,
    is_ready: &AtomicBool,
) -> anyhow::Result<Duration> {
    let stop = &service.lifecycle.stop_calling;
    schedule.make().await?;
    let (service, timer, ready) = (&*service.name, &*schedule.name, job.ready().await);
    match (is_ready.swap(ready, Ordering::Relaxed), ready) {
        (true, false) => tracing::warn!(
            service,
            timer,
            "the component can't be reached; leaving its timer to other relays until it can"
        ),
        (false, true) => tracing::info!(service, timer, "the component of a timer can be reached again"),
        _ => {}
    }
    if !ready {
        return Ok(RETRY_AFTER);
    }
    let mut turn = match schedule.claim(watch).await? {
        Claim::Taken(turn) => turn,
        Claim::NotYet(wait) => return Ok(wait),
    };
    let due = turn.due.clone();
    let ended = tokio::select! {
        ended = job.run(&due) => Some(ended),
        () = keep(schedule, &mut turn) => None,
    };
    match ended {
        Some(Ended::Done) => settle(schedule, &turn, stop).await?,
        Some(Ended::Stopped) => drop(schedule.release(&turn).await?),
        None => tracing::warn!(timer = schedule.name, "lost the lease of a timer; its call was cut off"),
    }
    // Nothing is due later than in one period; a time beyond it is mended at the next look.
    Ok(schedule.left().await?.min(schedule.every))
}

/// Records that the work is done, so that it isn't done again. Retries until that works or another relay has the turn.
async fn settle(schedule: &Schedule, turn: &Turn, stop: &CancellationToken) -> anyhow::Result<()> {
    loop {
        match schedule.finish(turn).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                tracing::warn!(timer = schedule.name, "another relay took a timer over during its call");
                return Ok(());
            }
            Err(cause) if stop.is_cancelled() => return Err(cause),
            Err(cause) => {
                tracing::warn!(
                    timer = schedule.name,
                    cause = format!("{cause:#}"),
                    "recording a timer's call failed; retrying"
                );
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Renews the lease; returns when it is lost, or may be.
async fn keep(schedule: &Schedule, turn: &mut Turn) {
    let mut renew_at = Moment::now() + schedule.lease / 4;
    loop {
        let now = Moment::now();
        let left = now.until(turn.safe_until);
        if left.is_zero() {
            return;
        }
        let wait = now.until(renew_at);
        if !wait.is_zero() {
            sleep(wait.min(SAFE_EVERY).min(left)).await;
            continue;
        }
        match tokio::time::timeout(left, schedule.renew(turn)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return,
            Ok(Err(cause)) => {
                let (timer, cause) = (schedule.name.as_str(), format!("{cause:#}"));
                tracing::debug!(timer, cause, "renewing the lease of a timer failed; retrying");
            }
        }
        renew_at = Moment::now() + schedule.lease / 4;
    }
}
