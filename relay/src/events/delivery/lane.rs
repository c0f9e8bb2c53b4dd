//! The worker of a lane: delivers the lane's events one after another, each until it is done.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use metrics::{counter, gauge, histogram};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use towpath_wire::headers::{DELIVERY_ATTEMPT, EVENT_KEY, EVENT_TOPIC};
use tracing::Instrument;

use super::group::Group;
use super::partition::{LaneKey, Partition, Work};
use crate::component::{Answer, Verdict, put};
use crate::events::cloudevents::Event;
use crate::events::dead_letters::{self, Cause, Reason};
use crate::telemetry::metrics as names;
use crate::{kafka, telemetry};

/// How long one try to produce a dead letter may take.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How work on an event ended.
enum Fate {
    /// The event is done.
    Done,
    /// The partition was taken away: the relay that has it now delivers the event.
    Left,
}

/// Works a lane until it is empty or the partition is taken away.
pub(super) async fn work(group: Arc<Group>, partition: Arc<Partition>, lane: LaneKey) {
    while let Some(work) = partition.front(&lane) {
        let fate = match (&work.event, &work.route) {
            (Ok(event), Some(route)) => deliver(&group, &partition, &work, event, route).await,
            (Err(malformed), _) => {
                let cause =
                    Cause { reason: Reason::Malformed, detail: malformed.to_string(), status: None, attempts: 0 };
                give_up(&group, &partition, &work, &cause).await
            }
            (Ok(_), None) => Fate::Done,
        };
        match fate {
            Fate::Done if partition.done(&lane, &work) => {}
            Fate::Done | Fate::Left => return,
        }
    }
}

/// Delivers an event until the component accepts it or it becomes a dead letter.
async fn deliver(group: &Group, partition: &Partition, work: &Work, event: &Event, route: &str) -> Fate {
    let (mut attempts, mut failures) = (0_u32, 0_u32);
    loop {
        let Some(answer) = attempt(group, partition, work, event, route, attempts).await else { return Fate::Left };
        attempts = attempts.saturating_add(1);
        let random = rand::random();
        let (result, wait) = match answer.verdict() {
            Verdict::Accepted => {
                group.taken();
                group.count("accepted");
                group.record_lag(&work.record);
                return Fate::Done;
            }
            Verdict::Down(named) => {
                group.held_back(&work.record, attempts, &answer);
                ("held_back", group.backoff.at_least(named, attempts, random))
            }
            Verdict::Misconfigured(named) => {
                group.misconfigured(&work.record, &answer);
                ("misconfigured", group.backoff.at_least(named, attempts, random))
            }
            Verdict::Failed => {
                failures += 1;
                if failures >= group.attempts {
                    return refuse(group, partition, work, Reason::Failed, &answer, attempts).await;
                }
                group.held_back(&work.record, attempts, &answer);
                ("held_back", group.backoff.jittered(failures, random))
            }
            Verdict::Refused => return refuse(group, partition, work, Reason::Refused, &answer, attempts).await,
        };
        group.count(result);
        if !rest(group, &partition.revoked, wait).await {
            return Fate::Left;
        }
    }
}

/// One delivery. `None`: the partition was taken away before the component answered.
async fn attempt(
    group: &Group,
    partition: &Partition,
    work: &Work,
    event: &Event,
    route: &str,
    before: u32,
) -> Option<Answer> {
    let record = &work.record;
    let _place = tokio::select! {
        place = group.places.acquire() => place.ok()?,
        () = partition.too_late_for(record.offset) => return None,
    };
    if !group.membership.certain(&partition.aborted).await || !partition.begin(record.offset) {
        return None;
    }
    let span = tracing::info_span!(
        "deliver",
        otel.kind = "consumer",
        service = &*group.service.name,
        topic = record.topic,
        event_id = event.id,
        event_type = event.kind,
        attempt = before + 1,
        status = tracing::field::Empty
    );
    let trace = telemetry::follow(&span, event.trace.clone());
    let mut headers = HeaderMap::new();
    event.write_http(&mut headers);
    trace.write(&mut headers);
    put(&mut headers, EVENT_TOPIC, group.routes.base(&record.topic).as_bytes());
    if let Some(key) = &record.key {
        put(&mut headers, EVENT_KEY, key);
    }
    if before > 0 {
        put(&mut headers, DELIVERY_ATTEMPT, before.to_string());
    }
    let began = Instant::now();
    let call = group.component.call(route, headers, event.data.clone()).instrument(span.clone());
    let answer = partition.aborted.run_until_cancelled(call).await?;
    histogram!(names::DELIVERY_SECONDS, "service" => group.name()).record(began.elapsed());
    if let Some(status) = answer.status() {
        span.record("status", status);
    }
    Some(answer)
}

async fn refuse(
    group: &Group,
    partition: &Partition,
    work: &Work,
    reason: Reason,
    answer: &Answer,
    attempts: u32,
) -> Fate {
    let cause = Cause { reason, detail: answer.to_string(), status: answer.status(), attempts };
    give_up(group, partition, work, &cause).await
}

/// Writes a dead letter. The event is done only once every in-sync replica has it.
async fn give_up(group: &Group, partition: &Partition, work: &Work, cause: &Cause) -> Fate {
    let base = group.routes.base(&work.record.topic);
    let letter = dead_letters::record(&group.service.name, &base, &work.record, cause);
    let mut tries = 0;
    loop {
        if !group.membership.certain(&partition.aborted).await || !partition.begin(work.record.offset) {
            return Fate::Left;
        }
        let sending = timeout(PRODUCE_TIMEOUT, kafka::send(&group.dead_letters, &letter));
        let result = match partition.aborted.run_until_cancelled(sending).await {
            None => return Fate::Left,
            Some(Ok(Ok(()))) => break,
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(_)) => format!("no acknowledgement within {PRODUCE_TIMEOUT:?}"),
        };
        tries += 1;
        tracing::warn!(
            topic = letter.topic,
            cause = result,
            "writing a dead letter failed; its lane waits and the relay retries"
        );
        let wait = group.backoff.jittered(tries, rand::random());
        if !rest(group, &partition.revoked, wait).await {
            return Fate::Left;
        }
    }
    let record = &work.record;
    let reason = cause.reason.as_str();
    counter!(names::DEAD_LETTERS, "service" => group.name(), "reason" => reason).increment(1);
    group.count("dead_letter");
    tracing::warn!(
        service = &*group.service.name,
        topic = record.topic,
        partition = record.partition,
        offset = record.offset,
        key = record.key_text(),
        event_id = work.event.as_ref().ok().map(|event| event.id.as_str()),
        reason,
        attempts = cause.attempts,
        cause = cause.detail,
        "an event became a dead letter"
    );
    Fate::Done
}

/// Waits before a retry, without holding a place. `false`: the partition was taken away.
async fn rest(group: &Group, revoked: &CancellationToken, wait: Duration) -> bool {
    let held = gauge!(names::LANES_HELD_BACK, "service" => group.name());
    held.increment(1.0);
    let rested = revoked.run_until_cancelled(tokio::time::sleep(wait)).await.is_some();
    held.decrement(1.0);
    rested
}
