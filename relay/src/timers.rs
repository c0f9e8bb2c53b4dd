//! Timers: routes that the relay calls on a schedule, on one relay at a time, until the component accepts.
//!
//! Each timer is a row of the service's database: when it is due, and who has the turn. Whoever finds it due takes the
//! turn for the time of a lease, renews it while the call lasts, and gives it back with the next time on the schedule.
//! A fence number that grows with every turn keeps a relay that was stalled from changing anything afterwards.
//!
//! # Invariants
//!
//! 1. A call begins only while its relay has the turn, and is given up before the turn can run out: calls of one timer
//!    don't overlap. (A component that goes on with a request whose caller is gone does so beyond the relay's reach.)
//! 2. A timer that was not accepted is called again, with backoff, by whoever has the turn. A relay that can't reach its
//!    component gives the turn back, and takes none until it can.
//! 3. What was missed, because every relay was down or a call took longer than the period, is not made up for: the next
//!    time is the first one on the schedule that is still to come.
//!
//! The relay's own cleaning ([`crate::purge`]) runs by the same rules.

mod lease;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use metrics::counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use towpath_wire::headers::{TIMER, TIMER_DUE};
use tracing::Instrument;

use crate::background::Store;
use crate::cloudevents::http::put;
use crate::component::{Component, LEFT_TO_OTHERS_AFTER};
use crate::config::TimerConfig;
use crate::delivery::verdict::{Backoff, Verdict};
use crate::state::Service;
use crate::{metrics as names, telemetry};
use lease::{Schedule, Turn};

/// A wait is cut into pieces no longer than this, so that a schedule that was changed is seen.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_millis(5);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Calls a timer of a service until the relay stops calling.
pub async fn keep_calling(service: Arc<Service>, timer: TimerConfig) -> anyhow::Result<()> {
    let Some(component) = &service.config.component else { return Ok(()) };
    let limits = service.limits();
    let caller = Caller {
        component: Component::new(component, Duration::from_millis(limits.delivery_timeout_ms))?,
        backoff: Backoff {
            first: Duration::from_millis(limits.delivery_backoff_ms),
            most: Duration::from_millis(limits.delivery_backoff_max_ms),
        },
        service: Arc::clone(&service),
        timer: timer.clone(),
    };
    keep_running(&service, &timer.name, timer.every, &caller).await;
    Ok(())
}

/// What is done on a schedule.
pub(crate) trait Job: Sync {
    /// Whether a turn should be taken now.
    fn ready(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Does what was due at this time. It is dropped where the turn is lost; where the relay stops it ends by itself.
    fn run(&self, due: &str) -> impl Future<Output = Ended> + Send;
}

/// Runs `job` on a schedule, on one relay at a time, until the relay stops calling.
pub(crate) async fn keep_running(service: &Arc<Service>, name: &str, every: Duration, job: &impl Job) {
    let stop = service.lifecycle.stop_calling.clone();
    let schedule = Schedule {
        store: Store::new(Arc::clone(service)),
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
                wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
            }
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    let cause = format!("{cause:#}");
                    tracing::warn!(service = &*service.name, timer = name, cause, "a timer waits for its database");
                }
                RETRY_AFTER
            }
        };
        let _ = stop.run_until_cancelled(sleep(wait)).await;
    }
}

/// How a job ended.
pub(crate) enum Ended {
    /// It did what was due.
    Done,
    /// It stopped before, and somebody else shall do it.
    Stopped,
}

/// Answers how long to wait before looking again.
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
        None => tracing::warn!(timer = schedule.name, "lost the turn of a timer; its call was given up"),
    }
    schedule.left().await
}

/// What was done must not be done again, so this is tried until it works or the turn is somebody else's.
async fn settle(schedule: &Schedule, turn: &Turn, stop: &CancellationToken) -> anyhow::Result<()> {
    loop {
        match schedule.finish(turn).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                tracing::warn!(timer = schedule.name, "another relay took the turn of a timer during its call");
                return Ok(());
            }
            Err(cause) if stop.is_cancelled() => return Err(cause),
            Err(cause) => {
                tracing::warn!(timer = schedule.name, cause = format!("{cause:#}"), "a call isn't recorded yet");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Keeps the turn; ends where it is lost, or might be.
async fn keep(schedule: &Schedule, turn: &mut Turn) {
    loop {
        sleep(schedule.lease / 4).await;
        let safe_until = turn.safe_until;
        match tokio::time::timeout_at(safe_until, schedule.renew(turn)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return,
            Ok(Err(cause)) => {
                tracing::debug!(timer = schedule.name, cause = format!("{cause:#}"), "a turn isn't renewed yet");
                if tokio::time::Instant::now() + schedule.lease / 4 >= safe_until {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

struct Caller {
    service: Arc<Service>,
    timer: TimerConfig,
    component: Component,
    backoff: Backoff,
}

impl Job for Caller {
    async fn ready(&self) -> bool {
        self.component.unreached_for().is_zero() || self.component.can_be_reached().await
    }

    async fn run(&self, due: &str) -> Ended {
        let stop = &self.service.lifecycle.stop_calling;
        let mut failed = 0_u32;
        loop {
            let span = tracing::info_span!(
                "timer",
                otel.kind = "client",
                service = &*self.service.name,
                timer = self.timer.name,
                due
            );
            let mut headers = HeaderMap::new();
            telemetry::follow(&span, None).write(&mut headers);
            put(&mut headers, TIMER, &self.timer.name);
            put(&mut headers, TIMER_DUE, due);
            let answer = self.component.call(&self.timer.route, headers, Bytes::new()).instrument(span).await;
            let verdict = answer.verdict();
            self.count(if verdict == Verdict::Accepted { "accepted" } else { "failed" });
            let named = match verdict {
                Verdict::Accepted => return Ended::Done,
                Verdict::Down(named) => named,
                Verdict::Failed | Verdict::Refused => None,
            };
            failed = failed.saturating_add(1);
            if self.component.unreached_for() > LEFT_TO_OTHERS_AFTER {
                return Ended::Stopped;
            }
            // Loudly at first, then at 2, 4, 8, ...
            if failed.is_power_of_two() {
                let (service, timer, cause) = (&*self.service.name, self.timer.name.as_str(), answer.to_string());
                tracing::warn!(service, timer, failed, cause, "a timer wasn't accepted, and is called again");
            }
            let wait = self.backoff.wait_at_least(failed, named, rand::random());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ended::Stopped;
            }
        }
    }
}

impl Caller {
    fn count(&self, result: &'static str) {
        let (service, timer) = (self.service.name.to_string(), self.timer.name.clone());
        counter!(names::TIMER_CALLS, "service" => service, "timer" => timer, "result" => result).increment(1);
    }
}
