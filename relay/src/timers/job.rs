//! Runs a job on a schedule, on one relay at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lease::{Schedule, Turn};
use crate::service::Service;

/// A wait is cut into pieces no longer than this, so that a schedule that was changed is seen.
const MAX_WAIT: Duration = Duration::from_secs(30);
const MIN_WAIT: Duration = Duration::from_millis(5);
/// The wait after the database failed.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Work that runs on a schedule.
pub(super) trait Job: Sync {
    /// Whether to take a turn now.
    fn ready(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Does the work that was due at this time. Dropped if the lease is lost; ends by itself when the relay stops.
    fn run(&self, due: &str) -> impl Future<Output = Ended> + Send;
}

/// Runs `job` on a schedule, on one relay at a time, until the relay stops calling.
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
    let mut failing = false;
    while !stop.is_cancelled() {
        let wait = match run_if_due(&schedule, job, &stop).await {
            Ok(wait) => {
                failing = false;
                wait.clamp(MIN_WAIT, MAX_WAIT)
            }
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    let cause = format!("{cause:#}");
                    tracing::warn!(
                        service = &*service.name,
                        timer = name,
                        cause,
                        "reading a timer from PostgreSQL failed; retrying"
                    );
                }
                RETRY_AFTER
            }
        };
        let _ = stop.run_until_cancelled(sleep(wait)).await;
    }
    Ok(())
}

/// How a job ended.
pub(super) enum Ended {
    /// The work is done.
    Done,
    /// It stopped before: another relay shall do the work.
    Stopped,
}

/// Runs the job if it is due. Answers how long to wait before looking again.
async fn run_if_due(schedule: &Schedule, job: &impl Job, stop: &CancellationToken) -> anyhow::Result<Duration> {
    schedule.make().await?;
    if !job.ready().await {
        return Ok(RETRY_AFTER);
    }
    let Some(mut turn) = schedule.claim().await? else { return schedule.left().await };
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
    schedule.left().await
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
    loop {
        sleep(schedule.lease / 4).await;
        let safe_until = turn.safe_until;
        match tokio::time::timeout_at(safe_until, schedule.renew(turn)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(cause)) => {
                tracing::debug!(
                    timer = schedule.name,
                    cause = format!("{cause:#}"),
                    "renewing the lease of a timer failed; retrying"
                );
                if tokio::time::Instant::now() + schedule.lease / 4 >= safe_until {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
