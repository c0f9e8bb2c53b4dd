//! The worker of a lane: delivers the lane's events one after another, each until it is done.

use std::sync::Arc;

use http::HeaderMap;
use metrics::histogram;
use tokio::time::Instant;
use towpath_wire::headers::{DELIVERY_ATTEMPT, EVENT_KEY, EVENT_TOPIC};
use tracing::Instrument;

use super::content::Content;
use super::group::Group;
use super::letter::{self, give_up};
use super::partition::{Fate, LaneKey, Partition};
use crate::component::{Answer, Verdict, put};
use crate::events::cloudevents::Event;
use crate::events::dead_letters::{Cause, Form, Origin, Reason};
use crate::kafka::Record;
use crate::telemetry;
use crate::telemetry::metrics as names;

/// Works a lane until it is empty or the partition is taken away.
pub(super) async fn work(group: Arc<Group>, partition: Arc<Partition>, lane: LaneKey) {
    while let Some(work) = partition.front(&lane) {
        let fate = match &work.content {
            Content::Reference(origin) => follow(&group, &partition, &work.record, origin).await,
            content => finish(&group, &partition, &work.record, content).await,
        };
        match fate {
            Fate::Done if partition.done(&lane, &work) => {}
            Fate::Done | Fate::Left => return,
        }
    }
}

/// Delivers what a replayed letter refers to.
async fn follow(group: &Group, partition: &Partition, letter: &Record, origin: &Origin) -> Fate {
    // Such events are large: few of them are in memory at a time, however many lanes have one.
    let Some(Ok(_place)) = partition.revoked.run_until_cancelled(group.references.acquire()).await else {
        return Fate::Left;
    };
    match letter::refers_to(group, partition, letter, origin).await {
        Some((record, content)) => finish(group, partition, &record, &content).await,
        None => Fate::Left,
    }
}

async fn finish(group: &Group, partition: &Partition, record: &Record, content: &Content) -> Fate {
    match content {
        Content::Event { event, route, origin } => {
            let work = Delivery { record, event, route, origin: origin.as_ref() };
            deliver(group, partition, &work).await
        }
        Content::Unfit { cause, form } => give_up(group, partition, record, form, cause).await,
        // `work` follows a reference, and none refers to another.
        Content::Unwanted | Content::Reference(_) => {
            group.count("skipped");
            Fate::Done
        }
    }
}

/// An event and where it goes.
struct Delivery<'a> {
    record: &'a Record,
    event: &'a Event,
    route: &'a str,
    /// Where the whole record stands, if not where it was fetched.
    origin: Option<&'a Origin>,
}

/// Delivers an event until the component accepts it or it becomes a dead letter.
async fn deliver(group: &Group, partition: &Partition, work: &Delivery<'_>) -> Fate {
    let (mut attempts, mut failures) = (0_u32, 0_u32);
    loop {
        let Some(answer) = attempt(group, partition, work, attempts).await else { return Fate::Left };
        attempts = attempts.saturating_add(1);
        let random = rand::random();
        let (result, wait) = match answer.verdict() {
            Verdict::Accepted => {
                group.taken();
                group.count("accepted");
                group.record_lag(work.record);
                return Fate::Done;
            }
            Verdict::Down(named) => {
                group.held_back(work.record, attempts, &answer);
                ("held_back", group.backoff.at_least(named, attempts, random))
            }
            Verdict::Misconfigured(named) => {
                group.misconfigured(work.record, &answer);
                ("misconfigured", group.backoff.at_least(named, attempts, random))
            }
            Verdict::Failed => {
                failures += 1;
                if failures >= group.attempts {
                    return refuse(group, partition, work, Reason::Failed, &answer, attempts).await;
                }
                group.held_back(work.record, attempts, &answer);
                ("held_back", group.backoff.jittered(failures, random))
            }
            Verdict::Refused => return refuse(group, partition, work, Reason::Refused, &answer, attempts).await,
        };
        group.count(result);
        if !group.rest(&partition.revoked, wait).await {
            return Fate::Left;
        }
    }
}

/// One delivery. `None`: the partition was taken away before the component answered.
async fn attempt(group: &Group, partition: &Partition, work: &Delivery<'_>, before: u32) -> Option<Answer> {
    let (record, event, route) = (work.record, work.event, work.route);
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
    work: &Delivery<'_>,
    reason: Reason,
    answer: &Answer,
    attempts: u32,
) -> Fate {
    let cause = Cause { reason, detail: answer.to_string(), status: answer.status(), attempts };
    let form = match work.origin {
        None => Form::Whole,
        // It was too large for its letter before.
        Some(origin) => Form::Reference { origin: origin.clone(), bytes: work.record.content_bytes() },
    };
    give_up(group, partition, work.record, &form, &cause).await
}
