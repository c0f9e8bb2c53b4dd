//! Calls a component for a timer, until it accepts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use metrics::counter;
use tokio::time::sleep;
use towpath_wire::headers::{TIMER, TIMER_DUE};
use tracing::Instrument;

use super::job::{Ended, Job, keep_running};
use crate::backoff::Backoff;
use crate::component::{Component, LEFT_TO_OTHERS_AFTER, Verdict, put};
use crate::config::TimerConfig;
use crate::service::Service;
use crate::standstill::Standstills;
use crate::telemetry;
use crate::telemetry::metrics as names;

/// As `/readyz` names the timers of a service, while its component takes no call of one: a token, a route or a proxy is wrong.
const TIMERS: &str = "timers";

/// Calls a timer of a service until the relay stops calling.
pub(super) async fn keep_calling(service: Arc<Service>, timer: TimerConfig) -> anyhow::Result<()> {
    let Some(component) = &service.config.component else { return Ok(()) };
    let limits = service.limits();
    let caller = Caller {
        component: Component::new(component, Duration::from_millis(limits.delivery_timeout_ms))?,
        backoff: limits.delivery_backoff(),
        service: Arc::clone(&service),
        timer: timer.clone(),
    };
    keep_running(&service, &timer.name, timer.every, &caller).await
}

/// Takes back, however a turn ends, that the timers stand still: another relay may have the next one.
struct Standing<'a>(&'a Standstills);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.clear(TIMERS);
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
        let _standing = Standing(&self.service.standstills);
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
                Verdict::Misconfigured(named) => {
                    self.service.standstills.note(TIMERS, &answer.to_string(), 0);
                    named
                }
                Verdict::Failed | Verdict::Refused => None,
            };
            failed = failed.saturating_add(1);
            if self.component.unreached_for() > LEFT_TO_OTHERS_AFTER {
                return Ended::Stopped;
            }
            // At the first failure, then at the 2nd, 4th, 8th, ... Of a component that can't be reached, whoever waits for it tells.
            if failed.is_power_of_two() && self.component.unreached_for().is_zero() {
                let (service, timer, cause) = (&*self.service.name, self.timer.name.as_str(), answer.to_string());
                tracing::warn!(service, timer, failed, cause, "the component didn't accept a timer; calling again");
            }
            let wait = self.backoff.at_least(named, failed, rand::random());
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
