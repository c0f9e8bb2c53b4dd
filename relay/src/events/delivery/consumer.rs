//! The poll loop, on a thread of its own: librdkafka calls back on the thread that polls, and a rebalance waits there for
//! deliveries to end. It waits for nothing else, in particular for no answer of Kafka, so it never stops polling.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::group::{Group, Place, bare_list, list};
use super::intake;
use crate::component::LEFT_TO_OTHERS_AFTER;
use crate::config::KafkaConfig;
use crate::kafka::{self, Listener, Log, LogAnd, Statistics, Taken, topics};
use crate::telemetry::metrics as names;

/// How long a poll waits for an event. The loop looks at commits and back pressure this often.
const POLL: Duration = Duration::from_millis(20);
/// The same while no event is being delivered: there is nothing to look at.
const IDLE_POLL: Duration = Duration::from_millis(200);
/// How many events the loop takes before it looks at anything else.
const MAX_BURST: usize = 256;
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How long the last commit of a consumer that stops may take.
const LAST_COMMIT: Duration = Duration::from_secs(2);

type Client = BaseConsumer<LogAnd<Callbacks>>;

/// How long a rebalance may wait for deliveries to end. Kafka itself waits for a session.
fn drain_deadline(session: Duration) -> Duration {
    session / 3
}

/// The loop comes round every few milliseconds, or after a rebalance at the latest.
fn max_poll_interval(session: Duration) -> Duration {
    (session * 3).max(Duration::from_secs(15))
}

/// The callbacks of librdkafka. They run on the poll loop's thread.
struct Callbacks {
    group: Arc<Group>,
    drain: Duration,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Callbacks {
    /// A panic goes on once the client's call is over. Through the call it would leave an assignment without an answer, and the
    /// client a member of the group for as long as it waits for one.
    fn guarded(&self, callback: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
            *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// Lets a panic go on.
    fn raise(&self) {
        let panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    fn follow(&self, consumer: &Client, rebalance: &Rebalance<'_>) {
        let service = &*self.group.service.name;
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(service, partitions = list.count(), "Kafka assigned partitions");
                counter!(names::REBALANCES, "service" => self.group.name()).increment(1);
                self.group.assign(list);
            }
            Rebalance::Revoke(given) => {
                let lost = consumer.assignment_lost();
                let taken: Vec<Place> =
                    given.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
                tracing::info!(service, partitions = taken.len(), lost, "giving partitions back");
                // Another relay has what was lost already: don't finish or commit anything there.
                let drain = if lost { Duration::ZERO } else { self.drain };
                let marks = self.group.revoke(&taken, drain);
                // Not synchronously: that waits for as long as Kafka has no coordinator, and nothing is polled meanwhile. The
                // client gives the partitions back once the commit was answered; nobody else hears of the answer.
                if !lost
                    && !marks.is_empty()
                    && let Err(error) = consumer.commit(&list(&marks), CommitMode::Async)
                {
                    tracing::debug!(service, %error, "committing offsets of partitions that are given back failed");
                }
            }
            Rebalance::Error(error) => {
                tracing::warn!(service, cause = %error, "Kafka reports a failed rebalance; the consumer retries")
            }
        }
    }
}

impl Listener for Callbacks {
    fn statistics(&self, told: Statistics) {
        self.group.note_next(told.next());
    }
}

impl ConsumerContext for LogAnd<Callbacks> {
    fn pre_rebalance(&self, consumer: &Client, rebalance: &Rebalance<'_>) {
        self.listener.guarded(|| self.listener.follow(consumer, rebalance));
    }
}

/// What the poll loop needs.
pub(super) struct Poll {
    pub(super) group: Arc<Group>,
    pub(super) kafka: Arc<KafkaConfig>,
    /// The session timeout of the group.
    pub(super) session: Duration,
    /// How long deliveries in flight may take when the relay stops.
    pub(super) drain: Duration,
    pub(super) stop: CancellationToken,
    /// Ends the loop at once, as a crash would: commits nothing.
    pub(super) forced: CancellationToken,
}

impl Poll {
    /// Runs until it is told to stop, until the component can't be reached, or until the consumer fails for good. Blocks.
    /// `abandoned`: the task that waits for it is gone.
    pub(super) fn run(&self, abandoned: &CancellationToken) -> Result<(), KafkaError> {
        let group = &self.group;
        let consumer = Arc::new(connect(group, &self.kafka, self.session)?);
        let committer = Committer::begin(&consumer, group)
            .map_err(|error| KafkaError::ClientCreation(format!("no thread for commits: {error}")))?;
        consumer.subscribe(&group.routes.topics())?;
        let mut committed_at = Instant::now();
        let mut result = Ok(());
        let forced = || self.forced.is_cancelled() || abandoned.is_cancelled();
        let reached = || group.component.unreached_for() <= LEFT_TO_OTHERS_AFTER;
        while !self.stop.is_cancelled() && !forced() && result.is_ok() && reached() {
            if group.membership.turn() {
                prove_membership(&committer, group);
            }
            result = take_burst(&consumer, group);
            consumer.context().listener.raise();
            seek(&consumer, group);
            balance(&consumer, group);
            if committed_at.elapsed() >= COMMIT_EVERY && !group.membership.awaits_answers() {
                committed_at = Instant::now();
                committer.commit(&group.marks_to_commit());
            }
        }
        let drain = if forced() { Duration::ZERO } else { self.drain };
        let marks = group.revoke(&group.places(), drain);
        if !forced() {
            committer.commit(&marks);
            let began = Instant::now();
            while group.membership.awaits_answers() && began.elapsed() < LAST_COMMIT && !forced() {
                let _ = consumer.poll(POLL);
            }
            if group.membership.awaits_answers() {
                tracing::warn!(
                    service = &*group.service.name,
                    "committing offsets failed; events handled since the last commit are delivered again"
                );
            }
        }
        result
    }
}

fn connect(group: &Arc<Group>, kafka: &KafkaConfig, session: Duration) -> Result<Client, KafkaError> {
    let role = format!("deliver-{}", group.service.name);
    let mut config = kafka::consumer(kafka, &role);
    config
        .set("group.id", topics::group(kafka, &group.service.name))
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("heartbeat.interval.ms", (session / 6).as_millis().to_string())
        // A thread that hangs keeps its partitions no longer than this.
        .set("max.poll.interval.ms", max_poll_interval(session).as_millis().to_string())
        // For the watchdog: how far it has fetched.
        .set("statistics.interval.ms", "2000")
        // Latency: a broker answers a fetch as soon as it has an event. What is assigned or resumed meanwhile is fetched next, so
        // the wait for an event is short.
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "250")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "20");
    let callbacks = Callbacks { group: Arc::clone(group), drain: drain_deadline(session), panicked: Mutex::new(None) };
    config.create_with_context(LogAnd { log: Log::new(role), listener: callbacks })
}

fn take_burst(consumer: &Client, group: &Arc<Group>) -> Result<(), KafkaError> {
    let first = if group.is_idle() { IDLE_POLL } else { POLL };
    for taken in 0..MAX_BURST {
        let wait = if taken == 0 { first } else { Duration::ZERO };
        match consumer.poll(wait) {
            None => break,
            Some(Ok(message)) => {
                intake::take(group, Taken::of(&message, group.largest));
                if group.is_full() {
                    break;
                }
            }
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
            Some(Err(error)) => {
                group.heard(&error);
                break;
            }
        }
    }
    Ok(())
}

/// Goes on behind records that the client can't read.
fn seek(consumer: &Client, group: &Group) {
    for ((topic, partition), offset) in group.take_seeks() {
        let Some(state) = group.partition(&(topic.clone(), partition)) else { continue };
        // Doesn't wait: the client fetches from there once it comes to it.
        match consumer.seek(&topic, partition, Offset::Offset(offset), Duration::ZERO) {
            Ok(()) => state.skip(offset - 1),
            Err(error) => tracing::debug!(service = &*group.service.name, %error, "seeking"),
        }
    }
}

fn balance(consumer: &Client, group: &Group) {
    let pressure = group.pressure();
    for (places, pause) in [(pressure.pause, true), (pressure.resume, false)] {
        if places.is_empty() {
            continue;
        }
        let list = bare_list(&places);
        let result = if pause { consumer.pause(&list) } else { consumer.resume(&list) };
        if let Err(error) = result {
            tracing::warn!(service = &*group.service.name, %error, pause, "pausing or resuming partitions failed");
        }
    }
}

/// After a stall: Kafka takes a commit only from a member of the group as it is now.
fn prove_membership(committer: &Committer, group: &Group) {
    let marks = group.marks();
    if marks.is_empty() {
        return group.membership.confirmed();
    }
    if group.membership.begin_proof() {
        committer.commit(&marks);
    }
}
