//! A service's consumer group on this relay: what the poll loop and the lanes share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use metrics::{counter, gauge, histogram};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::membership::Membership;
use super::partition::Partition;
use super::routes::Routes;
use crate::backoff::Backoff;
use crate::component::{Answer, Component};
use crate::config::KafkaConfig;
use crate::kafka::{self, Record, Renewed, Rights};
use crate::service::Service;
use crate::telemetry::metrics as names;

/// Bytes that may be fetched and not done. An event takes the same share of the buffer as it takes of this.
const MAX_BUFFER_BYTES: usize = 64 << 20;
/// How often lanes that wait get a line in the log at `warn` or `error`.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// For how long a denial counts that the client reports.
const DENIED_FOR: Duration = Duration::from_secs(10);

/// As `/readyz` names the deliveries of a service.
const DELIVERIES: &str = "deliveries";

/// A partition by topic and number.
pub(super) type Place = (String, i32);

pub(super) struct Group {
    pub(super) service: Arc<Service>,
    pub(super) runtime: Handle,
    pub(super) routes: Routes,
    pub(super) component: Component,
    pub(super) kafka: Arc<KafkaConfig>,
    pub(super) dead_letters: Arc<Renewed>,
    /// The largest record that is delivered, in bytes.
    pub(super) largest: usize,
    /// Places for deliveries in flight.
    pub(super) places: Semaphore,
    /// Places for events that are read where a replayed letter says. They take as much memory as the buffer at most.
    pub(super) references: Semaphore,
    pub(super) membership: Membership,
    pub(super) backoff: Backoff,
    /// Deliveries of an event on which the component fails.
    pub(super) attempts: u32,
    /// Events that may be fetched and not done.
    buffer: usize,
    /// Events that are.
    buffered: Arc<AtomicUsize>,
    partitions: Mutex<BTreeMap<Place, Arc<Partition>>>,
    /// The next offset that the client fetches of each partition, as its statistics say.
    next: Mutex<BTreeMap<Place, i64>>,
    /// The consumer was given up: it gets no partition any more.
    abandoned: AtomicBool,
    paused: Mutex<BTreeSet<Place>>,
    held_back_said: Seldom,
    misconfigured_said: Seldom,
    /// Whether Kafka lets the consumer do its work, and when it last didn't.
    rights: Rights,
    denied_at: Mutex<Option<Instant>>,
    /// The client can't read what stands in a partition: it says so, or it fetches nothing.
    pub(super) unreadable: Notify,
    /// Where the poll loop has to go on.
    seeks: Mutex<Vec<(Place, i64)>>,
}

/// Lets one log line through every few seconds.
struct Seldom {
    origin: Instant,
    /// Milliseconds from `origin` to the last line, plus 1; 0 before the first.
    said_at: AtomicU64,
}

impl Seldom {
    fn new() -> Self {
        Self { origin: Instant::now(), said_at: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        let now = self.origin.elapsed().as_millis() as u64 + 1;
        let last = self.said_at.load(Ordering::Relaxed);
        let due = last == 0 || now - last >= SAY_EVERY.as_millis() as u64;
        due && self.said_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// How far this relay is in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InPartition {
    /// The next offset that it fetches; `None` where it isn't known yet.
    pub(super) next: Option<i64>,
    /// Everything before it is done.
    pub(super) low_water: Option<i64>,
    /// The buffer is full, or the partition is paused: it need not fetch.
    pub(super) busy: bool,
}

/// What the poll loop does about back pressure.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    pub(super) pause: Vec<Place>,
    pub(super) resume: Vec<Place>,
}

impl Group {
    pub(super) fn new(
        service: Arc<Service>,
        kafka: Arc<KafkaConfig>,
        component: Component,
        dead_letters: Arc<Renewed>,
        session: Duration,
    ) -> Self {
        let limits = service.limits();
        Self {
            runtime: Handle::current(),
            routes: Routes::of(&service.config),
            component,
            kafka,
            dead_letters,
            largest: limits.delivery_bytes,
            places: Semaphore::new(limits.delivery_lanes),
            references: Semaphore::new((MAX_BUFFER_BYTES / limits.delivery_bytes).max(1)),
            membership: Membership::new(session),
            backoff: limits.delivery_backoff(),
            attempts: limits.delivery_attempts,
            buffer: limits.delivery_buffer,
            buffered: Arc::default(),
            partitions: Mutex::default(),
            next: Mutex::default(),
            abandoned: AtomicBool::new(false),
            paused: Mutex::default(),
            held_back_said: Seldom::new(),
            misconfigured_said: Seldom::new(),
            rights: Rights::new(Arc::clone(&service), "consumer"),
            denied_at: Mutex::default(),
            unreadable: Notify::new(),
            seeks: Mutex::default(),
            service,
        }
    }

    /// Takes partitions that Kafka assigned.
    pub(super) fn assign(&self, list: &TopicPartitionList) {
        let mut partitions = self.partitions();
        if self.abandoned.load(Ordering::Acquire) {
            return;
        }
        for element in list.elements() {
            let place = (element.topic().to_owned(), element.partition());
            self.paused().remove(&place);
            partitions.insert(place, Arc::new(Partition::new(Arc::clone(&self.buffered))));
        }
        // The first share may be empty: members that died still have theirs, until Kafka has noticed.
        if !partitions.is_empty() {
            self.service.first_shares.deliveries.store(true, Ordering::Relaxed);
        }
        gauge!(names::PARTITIONS, "service" => self.name()).set(partitions.len() as f64);
    }

    /// Takes partitions away from their lanes: deliveries in flight may end within `deadline`, and so may events before
    /// them. Answers the low-water mark of each partition. Blocks unless `deadline` is zero; don't call it on a thread of the
    /// runtime then.
    pub(super) fn revoke(&self, places: &[Place], deadline: Duration) -> Vec<(Place, i64)> {
        let taken: Vec<(Place, Arc<Partition>)> = {
            let mut partitions = self.partitions();
            let mut paused = self.paused();
            let taken = places.iter().filter_map(|place| {
                paused.remove(place);
                Some((place.clone(), partitions.remove(place)?))
            });
            let taken = taken.collect();
            if partitions.is_empty() {
                self.service.standstills.clear(DELIVERIES);
            }
            gauge!(names::PARTITIONS, "service" => self.name()).set(partitions.len() as f64);
            taken
        };
        for (_, partition) in &taken {
            if deadline.is_zero() {
                partition.aborted.cancel();
            }
            partition.revoke();
        }
        if !taken.is_empty() && !deadline.is_zero() {
            let idle = join_all(taken.iter().map(|(_, partition)| partition.idle()));
            if self.runtime.block_on(async { tokio::time::timeout(deadline, idle).await }).is_err() {
                tracing::warn!(
                    service = &*self.service.name,
                    "a rebalance or stop cut off deliveries; their events are delivered again"
                );
            }
        }
        for (_, partition) in &taken {
            partition.aborted.cancel();
        }
        let mark = |(place, partition): (Place, Arc<Partition>)| Some((place, partition.low_water()?));
        taken.into_iter().filter_map(mark).collect()
    }

    /// Gives the consumer up, whatever its thread does: deliveries in flight end at once, and none begins.
    pub(super) fn abandon(&self) {
        let places: Vec<Place> = {
            let partitions = self.partitions();
            self.abandoned.store(true, Ordering::Release);
            partitions.keys().cloned().collect()
        };
        self.revoke(&places, Duration::ZERO);
    }

    /// The client's statistics: the next offset that it fetches of each partition.
    pub(super) fn note_next(&self, next: BTreeMap<Place, i64>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// How far this relay is in a partition, if it has it.
    pub(super) fn progress(&self, place: &Place) -> Option<InPartition> {
        let partition = self.partition(place)?;
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied();
        let busy = self.is_full() || self.paused().contains(place);
        Some(InPartition { next, low_water: partition.low_water(), busy })
    }

    /// All partitions that this relay has.
    pub(super) fn places(&self) -> Vec<Place> {
        self.partitions().keys().cloned().collect()
    }

    /// A partition, if this relay has it.
    pub(super) fn partition(&self, place: &Place) -> Option<Arc<Partition>> {
        self.partitions().get(place).cloned()
    }

    /// What a record counts against the buffer.
    pub(super) fn weight(&self, record: &Record) -> usize {
        1 + record.bytes() * self.buffer / MAX_BUFFER_BYTES
    }

    /// Whether the buffer is full.
    pub(super) fn is_full(&self) -> bool {
        self.buffered.load(Ordering::Relaxed) >= self.buffer
    }

    /// Whether nothing that was fetched is left to be done, and no partition waits for that.
    pub(super) fn is_idle(&self) -> bool {
        self.buffered.load(Ordering::Relaxed) == 0 && self.paused().is_empty()
    }

    /// Which partitions to pause and to resume. While the buffer is full, partitions with more than their share pause; the
    /// others go on, so that one that waits doesn't starve them.
    pub(super) fn pressure(&self) -> Pressure {
        let partitions = self.partitions();
        let mut paused = self.paused();
        let weights: Vec<(&Place, usize)> = partitions.iter().map(|(place, p)| (place, p.weight())).collect();
        let total = self.buffered.load(Ordering::Relaxed);
        let part = (self.buffer / partitions.len().max(1)).max(1);
        let mut pressure = Pressure::default();
        for (place, weight) in weights {
            if paused.contains(place) {
                if weight <= part / 2 || total <= self.buffer / 2 {
                    pressure.resume.push(place.clone());
                }
            } else if total >= self.buffer && weight >= part {
                pressure.pause.push(place.clone());
            }
        }
        paused.extend(pressure.pause.iter().cloned());
        paused.retain(|place| !pressure.resume.contains(place));
        gauge!(names::DELIVERY_BUFFER, "service" => self.name()).set(total as f64);
        pressure
    }

    /// The low-water marks that moved since the last call.
    pub(super) fn marks_to_commit(&self) -> Vec<(Place, i64)> {
        let partitions = self.partitions();
        let moved = partitions.iter().filter_map(|(place, partition)| Some((place.clone(), partition.take_commit()?)));
        moved.collect()
    }

    /// All low-water marks.
    pub(super) fn marks(&self) -> Vec<(Place, i64)> {
        let partitions = self.partitions();
        partitions.iter().filter_map(|(place, partition)| Some((place.clone(), partition.low_water()?))).collect()
    }

    /// A commit failed: all marks are committed again.
    pub(super) fn commit_failed(&self) {
        self.partitions().values().for_each(|partition| partition.commit_failed());
    }

    pub(super) fn name(&self) -> String {
        self.service.name.to_string()
    }

    pub(super) fn count(&self, result: &'static str) {
        counter!(names::DELIVERIES, "service" => self.name(), "result" => result).increment(1);
    }

    /// Measures the time from the record's timestamp to the component's acceptance.
    pub(super) fn record_lag(&self, record: &Record) {
        let Some(made_ms) = record.timestamp_ms else { return };
        let lag_ms = jiff::Timestamp::now().as_millisecond().saturating_sub(made_ms);
        let lag = Duration::from_millis(lag_ms.try_into().unwrap_or(0));
        histogram!(names::DELIVERY_LAG_SECONDS, "service" => self.name()).record(lag);
    }

    /// Waits before a retry, without holding a place. `false`: the partition was taken away.
    pub(super) async fn rest(&self, revoked: &CancellationToken, wait: Duration) -> bool {
        let held = gauge!(names::LANES_HELD_BACK, "service" => self.name());
        held.increment(1.0);
        let rested = revoked.run_until_cancelled(tokio::time::sleep(wait)).await.is_some();
        held.decrement(1.0);
        rested
    }

    /// All partitions with the next offset that each has to fetch, where it is known.
    pub(super) fn nexts(&self) -> Vec<(Place, Arc<Partition>, i64)> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.partitions().clone();
        let known = all.into_iter().filter_map(|(place, partition)| {
            let next = partition.next().or_else(|| next.get(&place).copied())?;
            Some((place, partition, next))
        });
        known.collect()
    }

    /// Has the poll loop go on at this offset of a partition: what stands before it is done.
    pub(super) fn go_on_at(&self, place: Place, offset: i64) {
        self.seeks.lock().unwrap_or_else(PoisonError::into_inner).push((place, offset));
    }

    /// Where the poll loop has to go on.
    pub(super) fn take_seeks(&self) -> Vec<(Place, i64)> {
        std::mem::take(&mut *self.seeks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Logs that a lane waits: at `warn` now and then, otherwise at `debug`.
    pub(super) fn held_back(&self, record: &Record, attempts: u32, answer: &Answer) {
        let (service, key, cause) = (&*self.service.name, record.key_text(), answer.to_string());
        let topic = record.topic.as_str();
        if self.held_back_said.is_due() {
            tracing::warn!(
                service,
                topic,
                key,
                attempts,
                cause,
                "a delivery failed; its lane waits and the relay retries"
            );
        } else {
            tracing::debug!(service, topic, key, attempts, cause, "a delivery failed again");
        }
    }

    /// Kafka, or the client, reports an error. Most pass by themselves; missing rights don't, nor does a record that the client
    /// can't read.
    pub(super) fn heard(&self, error: &KafkaError) {
        if kafka::is_unreadable(error) {
            self.unreadable.notify_one();
        }
        if kafka::is_denied(error) {
            *self.denied_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.rights.denied(&error.to_string());
        }
        tracing::debug!(service = &*self.service.name, %error, "polling");
    }

    /// The consumer does its work, seen from outside. An error that the client reports is said once: so it counts for a while.
    pub(super) fn works(&self) {
        let denied_at = *self.denied_at.lock().unwrap_or_else(PoisonError::into_inner);
        if denied_at.is_none_or(|at| at.elapsed() > DENIED_FOR) {
            self.rights.granted();
        }
    }

    /// The worker of a lane panicked, and begins anew.
    pub(super) fn lane_panicked(&self, cause: &str) {
        counter!(names::REPLACED, "service" => self.name(), "part" => "lane").increment(1);
        let service = &*self.service.name;
        tracing::error!(service, cause, "delivering an event panicked; its lane waits and the relay retries");
    }

    /// A partition with lanes that nobody works, if there is one, and how many they are.
    pub(super) fn deserted(&self) -> Option<(Place, usize)> {
        let partitions = self.partitions();
        partitions.iter().find_map(|(place, partition)| Some((place.clone(), partition.deserted()?)))
    }

    /// The component took an event: the way to it is right.
    pub(super) fn taken(&self) {
        if let Some(stood) = self.service.standstills.clear(DELIVERIES) {
            tracing::info!(
                service = &*self.service.name,
                stood_s = stood.as_secs(),
                "the component takes the relay's deliveries again"
            );
        }
    }

    /// The component takes no delivery of this relay: `/readyz` says so, and the log now and then.
    pub(super) fn misconfigured(&self, record: &Record, answer: &Answer) {
        self.service.standstills.note(DELIVERIES, &answer.to_string(), 0);
        if self.misconfigured_said.is_due() {
            tracing::error!(
                service = &*self.service.name,
                topic = record.topic,
                cause = answer.to_string(),
                "the component doesn't take the relay's deliveries; its events wait until the token, the route or the proxy is mended"
            );
        }
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<Partition>>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Partitions with offsets, as librdkafka takes them.
pub(super) fn list(marks: &[(Place, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(marks.len());
    for ((topic, partition), offset) in marks {
        // Fails only for offsets that no record has.
        let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
    }
    list
}

/// Partitions without offsets, as librdkafka takes them.
pub(super) fn bare_list(places: &[Place]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    list
}
