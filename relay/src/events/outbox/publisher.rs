//! One publisher: from the start of its producer to its end.
//!
//! A long run of `batches` looks at the `leases` in between, and goes on with the shards that are held then.

mod batches;
mod held;
mod leases;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use metrics::gauge;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::BACKOFF;
use super::heartbeat::{Progress, beat};
use super::look::Eye;
use super::low_water::LowWater;
use super::producer::{Setup, Transactional};
use super::retire::retire;
use super::store::{self, Held};
use super::unmarked::Unmarked;
use crate::backoff::Failures;
use crate::config::KafkaConfig;
use crate::kafka::Rights;
use crate::postgres::RelayRole;
use crate::redis::{Space, Waiter};
use crate::service::Service;
use crate::shards::ShardSet;
use crate::telemetry::metrics as names;

/// How a publisher ended.
pub(super) enum End {
    /// It was told to, and gave everything up.
    Stopped,
    /// It didn't get to work.
    Failed(anyhow::Error),
    /// It can't go on.
    Lost(anyhow::Error),
}

enum Wake {
    Stop,
    Lost,
    Committed(ShardSet),
    Look,
    Sweep,
    Mark,
}

/// Who has to be retired before the next publisher of this relay begins. Its publisher writes it, and it outlives that one.
#[derive(Clone, Debug)]
pub(super) struct Predecessor(Arc<Mutex<Option<String>>>);

impl Predecessor {
    pub(super) fn new(id: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(id)))
    }

    fn get(&self) -> Option<String> {
        self.id().clone()
    }

    fn set(&self, id: Option<String>) {
        *self.id() = id;
    }

    /// Takes it, once its publisher is over.
    pub(super) fn take(&self) -> Option<String> {
        self.id().take()
    }

    fn id(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Publisher {
    service: Arc<Service>,
    kafka: Arc<KafkaConfig>,
    /// Whether Kafka lets it do its work.
    rights: Rights,
    setup: Setup,
    role: RelayRole,
    lease: Duration,
    id: Arc<str>,
    producer: Option<Transactional>,
    held: Held,
    /// How often Kafka has refused a batch of the outbox: it answers, whatever waits meanwhile.
    answers: Arc<AtomicU64>,
    /// From where each of them is read.
    low_water: LowWater,
    /// What it has published and not marked.
    unmarked: Unmarked,
    /// When its last transaction began.
    last_began: Option<Instant>,
    /// When the marks of these go to the database next.
    next_keep: Instant,
    progress: Arc<Progress>,
    lost: CancellationToken,
    stop: CancellationToken,
    /// Publishers that are being retired here.
    retiring: JoinSet<String>,
    in_retirement: BTreeSet<String>,
    /// Other relays' units of work committed into shards that are held here.
    remote: Waiter,
    /// Leases changed elsewhere.
    leases: Waiter,
    next_look: Instant,
    /// When it last read the leases, also by the database's clock.
    looked_at: Option<(Instant, i64)>,
    /// When it came back from an outage of the database or from a stall, or when the database's clock leapt, if ever.
    back_since: Option<Instant>,
    next_sweep: Instant,
    /// Nothing is published before this: Kafka or the database failed.
    paused_until: Instant,
    failures: Failures,
    /// Once it is told to stop: when it leaves waiting events to other relays.
    leaves_at: Option<Instant>,
}

fn shard_key(shard: i16) -> String {
    format!("outbox/{shard}")
}

/// Why it can't go on: its heartbeat is over.
const LOST: &str = "its leases aren't renewed any more; most likely another relay retired it";

/// While events come one after the other, a transaction begins so long after the one before it: Kafka's work is the same for
/// one event as for fifty. Whoever publishes now and then waits for nothing.
const GATHER: Duration = Duration::from_millis(10);

const LEASES_KEY: &str = "outbox/leases";

impl Publisher {
    pub(super) fn new(service: Arc<Service>, kafka: Arc<KafkaConfig>, setup: Setup, role: RelayRole) -> Self {
        let id = format!("{}.{}.{}.{}", kafka.prefix, service.name, service.instance, Uuid::now_v7().simple());
        let register = |keys: &[&str]| service.wakeups.register(Space::Relay, &service.name, keys);
        let now = Instant::now();
        Self {
            role,
            lease: Duration::from_millis(service.limits().lease_ms),
            id: id.into(),
            producer: None,
            held: Held::new(),
            answers: Arc::default(),
            low_water: LowWater::default(),
            unmarked: Unmarked::default(),
            last_began: None,
            next_keep: now,
            progress: Progress::new(),
            lost: CancellationToken::new(),
            stop: service.lifecycle.stop_publishing.clone(),
            retiring: JoinSet::new(),
            in_retirement: BTreeSet::new(),
            remote: register(&[]),
            leases: register(&[LEASES_KEY]),
            next_look: now,
            looked_at: None,
            back_since: None,
            next_sweep: now,
            paused_until: now,
            failures: BACKOFF.failures(),
            leaves_at: None,
            rights: Rights::new(Arc::clone(&service), "outbox"),
            service,
            kafka,
            setup,
        }
    }

    /// Shows itself to the watchdog.
    pub(super) fn show(&self, eye: &mut Eye) {
        eye.follow(Arc::clone(&self.id), Arc::clone(&self.answers));
    }

    /// Publishes until it is told to stop, or can't go on. `predecessor`: the one before it, and then itself.
    pub(super) async fn run(mut self, predecessor: Predecessor) -> End {
        match self.stop.clone().run_until_cancelled(self.begin(&predecessor)).await {
            None => return End::Stopped,
            Some(Err(cause)) => {
                self.rights.failed(&cause);
                return End::Failed(cause);
            }
            Some(Ok(())) => {}
        }
        let _heartbeat = self.start_heartbeat();
        tracing::info!(service = &*self.service.name, publisher = &*self.id, "publishing the outbox");
        self.rights.granted();
        let end = loop {
            let done = match self.next().await {
                Wake::Stop => break End::Stopped,
                Wake::Lost => Err(anyhow!(LOST)),
                Wake::Committed(shards) => self.committed(shards).await,
                Wake::Look => self.look().await,
                Wake::Sweep => self.sweep().await,
                Wake::Mark => self.mark().await,
            };
            if let Err(cause) = done {
                break End::Lost(cause);
            }
        };
        gauge!(names::OUTBOX_SHARDS, "service" => self.name()).set(0.0);
        match end {
            End::Stopped => self.give_up().await,
            end => {
                if let End::Lost(cause) = &end {
                    self.rights.failed(cause);
                }
                end
            }
        }
    }

    async fn begin(&mut self, left: &Predecessor) -> anyhow::Result<()> {
        let producer = Transactional::open(&self.kafka, &self.setup, &self.id).await.context("Kafka")?;
        let before = match left.get() {
            Some(predecessor) => vec![predecessor],
            // This relay has begun anew, so nothing that has its name is alive.
            None => store::predecessors(&self.role, &self.service.instance).await?,
        };
        for predecessor in before {
            retire(&self.kafka, &self.setup, &self.role, &predecessor).await?;
            left.set(None);
        }
        store::register(&self.role, &self.id, &self.service.instance, self.lease).await?;
        left.set(Some(self.id.to_string()));
        self.producer = Some(producer);
        self.tell_others();
        Ok(())
    }

    fn start_heartbeat(&self) -> DropGuard {
        let end = CancellationToken::new();
        let (service, id) = (Arc::clone(&self.service), Arc::clone(&self.id));
        let beating = beat(self.role.clone(), service, id, self.lease, Arc::clone(&self.progress), self.lost.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(beating));
        end.drop_guard()
    }

    /// What to do next. Fair among what may come at any moment, so that none of it waits for a pause of the others.
    async fn next(&mut self) -> Wake {
        if self.stop.is_cancelled() {
            return Wake::Stop;
        }
        if self.lost.is_cancelled() {
            return Wake::Lost;
        }
        let sweep_at = self.next_sweep.max(self.paused_until);
        let mark_at = self.unmarked.due_at();
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            () = self.lost.cancelled() => Wake::Lost,
            shards = self.service.outbox_wake.notified() => Wake::Committed(shards),
            () = self.remote.woken() => Wake::Sweep,
            () = self.leases.woken() => Wake::Look,
            Some(retired) = self.retiring.join_next(), if !self.retiring.is_empty() => {
                match retired {
                    Ok(id) => drop(self.in_retirement.remove(&id)),
                    Err(_) => self.in_retirement.clear(),
                }
                Wake::Look
            }
            () = sleep_until(self.next_look) => Wake::Look,
            () = sleep_until(sweep_at) => Wake::Sweep,
            () = sleep_until(mark_at.unwrap_or(sweep_at)), if mark_at.is_some() => Wake::Mark,
        }
    }

    /// Units of work of this relay committed into these shards.
    async fn committed(&mut self, mut shards: ShardSet) -> anyhow::Result<()> {
        self.gather().await;
        shards = shards.union(self.service.outbox_wake.take());
        let (own, foreign): (Vec<i16>, Vec<i16>) =
            shards.iter().map(|shard| shard as i16).partition(|shard| self.held.contains_key(shard));
        let keys: Vec<String> = foreign.into_iter().map(shard_key).collect();
        self.service.wakeups.notify(Space::Relay, &self.service.name, &keys);
        if own.is_empty() { Ok(()) } else { self.publish(own).await }
    }

    /// Waits for what else is going to be committed, where something was published just now.
    async fn gather(&self) {
        if let Some(last) = self.last_began {
            sleep_until(last + GATHER).await;
        }
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        self.gather().await;
        self.next_sweep = Instant::now() + Duration::from_millis(self.service.limits().outbox_sweep_ms);
        self.publish(self.held.keys().copied().collect()).await?;
        self.publish_held().await
    }

    /// Publishes what is left, then releases its shards, so that other relays need not wait for the leases to run out.
    async fn give_up(&mut self) -> End {
        if let Err(cause) = self.sweep().await {
            return End::Lost(cause);
        }
        if let Err(cause) = self.mark().await {
            return End::Lost(cause);
        }
        self.keep_marks().await;
        if let Err(cause) = store::retire(&self.role, &self.id, &[]).await {
            let cause = format!("{cause:#}");
            tracing::warn!(
                service = &*self.service.name,
                cause,
                "releasing the outbox leases failed; other relays take over when they run out"
            );
            return End::Stopped;
        }
        self.tell_others();
        if let Some(producer) = &self.producer {
            let _ = producer.note(&self.id, &self.id, None).await;
        }
        End::Stopped
    }

    fn tell_others(&self) {
        self.service.wakeups.notify(Space::Relay, &self.service.name, &[LEASES_KEY]);
    }

    fn name(&self) -> String {
        self.service.name.to_string()
    }
}
