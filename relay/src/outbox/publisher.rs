//! One publisher: from the start of its producer to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use metrics::{counter, gauge, histogram};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::heartbeat::{Progress, beat};
use super::producer::{Setup, Transactional, Trouble};
use super::retire::retire;
use super::shares::{Plan, plan};
use super::store::{self, Bounds, Held, Waiting};
use crate::background::Store;
use crate::config::KafkaConfig;
use crate::metrics as names;
use crate::state::{Service, ShardSet};
use crate::wakeup::{Space, Waiter};

/// The most bytes of data in one batch, but for a single event that is larger.
const BATCH_BYTES: usize = 8 << 20;
/// The least that one shard may bring into a batch: a single hot key shall not take a batch for every few events.
const SHARD_EVENTS: usize = 100;
/// How often leases are looked at though nobody said that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PAUSE_AT_FIRST: Duration = Duration::from_millis(100);
const PAUSE_AT_MOST: Duration = Duration::from_secs(2);
/// How long a shard rests whose next event Kafka refuses.
const HOLD: Duration = Duration::from_secs(5);

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
}

pub(super) struct Publisher {
    service: Arc<Service>,
    kafka: Arc<KafkaConfig>,
    setup: Setup,
    store: Store,
    lease: Duration,
    id: Arc<str>,
    /// The publisher that must be retired before the next one of this relay begins: this one, once it is known.
    predecessor: Option<String>,
    producer: Option<Transactional>,
    held: Held,
    /// Shards whose next event Kafka refuses, until when they rest.
    on_hold: BTreeMap<i16, Instant>,
    /// As many events go one by one: Kafka refused a batch, and only of a batch of one it is known whom it refuses.
    singly: usize,
    progress: Arc<Progress>,
    lost: CancellationToken,
    /// Publishers that are being retired here.
    retiring: JoinSet<String>,
    in_retirement: BTreeSet<String>,
    /// Other relays' units of work committed into shards that are held here.
    remote: Waiter,
    /// Leases changed elsewhere.
    leases: Waiter,
    next_look: Instant,
    next_sweep: Instant,
    /// Nothing is published before this: Kafka or the database failed.
    paused_until: Instant,
    pause: Duration,
}

fn shard_key(shard: i16) -> String {
    format!("outbox/{shard}")
}

const LEASES_KEY: &str = "outbox/leases";

impl Publisher {
    pub(super) fn new(service: Arc<Service>, kafka: Arc<KafkaConfig>, setup: Setup) -> Self {
        let id = format!("{}.{}.{}.{}", kafka.prefix, service.name, service.instance, Uuid::now_v7().simple());
        let register = |keys: &[&str]| service.wakeups.register(Space::Relay, &service.name, keys);
        let now = Instant::now();
        Self {
            store: Store::new(Arc::clone(&service)),
            lease: Duration::from_millis(service.limits().lease_ms),
            id: id.into(),
            predecessor: None,
            producer: None,
            held: Held::new(),
            on_hold: BTreeMap::new(),
            singly: 0,
            progress: Progress::new(),
            lost: CancellationToken::new(),
            retiring: JoinSet::new(),
            in_retirement: BTreeSet::new(),
            remote: register(&[]),
            leases: register(&[LEASES_KEY]),
            next_look: now,
            next_sweep: now,
            paused_until: now,
            pause: PAUSE_AT_FIRST,
            service,
            kafka,
            setup,
        }
    }

    /// Who has to be retired before the next publisher of this relay begins.
    pub(super) fn into_predecessor(self) -> Option<String> {
        self.predecessor
    }

    pub(super) async fn run(&mut self, predecessor: Option<String>, stop: &CancellationToken) -> End {
        self.predecessor = predecessor;
        match stop.run_until_cancelled(self.begin()).await {
            None => return End::Stopped,
            Some(Err(cause)) => return End::Failed(cause),
            Some(Ok(())) => {}
        }
        let _heartbeat = self.start_heartbeat();
        tracing::info!(service = &*self.service.name, publisher = &*self.id, "publishing the outbox");
        let end = loop {
            let done = match self.next(stop).await {
                Wake::Stop => break End::Stopped,
                Wake::Lost => Err(anyhow!("it was retired by another relay")),
                Wake::Committed(shards) => self.committed(shards).await,
                Wake::Look => self.look().await,
                Wake::Sweep => self.sweep().await,
            };
            if let Err(cause) = done {
                break End::Lost(cause);
            }
        };
        gauge!(names::OUTBOX_SHARDS, "service" => self.name()).set(0.0);
        match end {
            End::Stopped => self.give_up().await,
            end => end,
        }
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let producer = Transactional::open(&self.kafka, &self.setup, &self.id).await.context("Kafka")?;
        let before = match &self.predecessor {
            Some(predecessor) => vec![predecessor.clone()],
            // This relay has begun anew, so nothing that has its name is alive.
            None => store::predecessors(&self.store, &self.service.instance).await?,
        };
        for predecessor in before {
            retire(&self.kafka, &self.setup, &self.store, &predecessor).await?;
            self.predecessor = None;
        }
        store::register(&self.store, &self.id, &self.service.instance, self.lease).await?;
        self.predecessor = Some(self.id.to_string());
        self.producer = Some(producer);
        self.tell_others();
        Ok(())
    }

    fn start_heartbeat(&self) -> DropGuard {
        let end = CancellationToken::new();
        let (store, id, lease) = (self.store.clone(), self.id.to_string(), self.lease);
        let beating = beat(store, id, lease, Arc::clone(&self.progress), self.lost.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(beating));
        end.drop_guard()
    }

    async fn next(&mut self, stop: &CancellationToken) -> Wake {
        let sweep_at = self.next_sweep.max(self.paused_until);
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
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
        }
    }

    /// Units of work of this relay committed into these shards.
    async fn committed(&mut self, shards: ShardSet) -> anyhow::Result<()> {
        let (own, foreign): (Vec<i16>, Vec<i16>) =
            shards.iter().map(|shard| shard as i16).partition(|shard| self.held.contains_key(shard));
        let keys: Vec<String> = foreign.into_iter().map(shard_key).collect();
        self.service.wakeups.notify(Space::Relay, &self.service.name, &keys);
        if own.is_empty() { Ok(()) } else { self.publish(own).await }
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        self.next_sweep = Instant::now() + Duration::from_millis(self.service.limits().outbox_sweep_ms);
        self.publish(self.held.keys().copied().collect()).await
    }

    /// Looks at the leases and does what follows. What goes wrong is tried again at the next look.
    async fn look(&mut self) -> anyhow::Result<()> {
        self.next_look = Instant::now() + LOOK_EVERY.min(self.lease / 3);
        let view = match store::look(&self.store, &self.id).await {
            Ok(view) => view,
            Err(cause) => return self.later("the leases can't be read", cause),
        };
        if let Some(left) = view.next_expiry {
            self.next_look = self.next_look.min(Instant::now() + left + Duration::from_millis(5));
        }
        let before: Vec<i16> = self.held.keys().copied().collect();
        self.held = view.held_by(&self.id);
        let plan = plan(&self.id, &view.living, &view.expired, &view.leases);
        let rank = view.living.iter().filter(|id| id.as_str() < &*self.id).count();
        for dead in &plan.dead {
            self.begin_retirement(dead, rank);
        }
        if let Err(cause) = self.follow(&plan).await {
            return self.later("the leases can't be changed", cause);
        }
        let after: Vec<i16> = self.held.keys().copied().collect();
        if after == before {
            return Ok(());
        }
        tracing::info!(service = &*self.service.name, shards = ?after, "holds other shards of the outbox than before");
        gauge!(names::OUTBOX_SHARDS, "service" => self.name()).set(after.len() as f64);
        let keys: Vec<String> = after.iter().copied().map(shard_key).collect();
        self.remote = self.service.wakeups.register(Space::Relay, &self.service.name, &keys);
        self.sweep().await
    }

    async fn follow(&mut self, plan: &Plan) -> anyhow::Result<()> {
        if !plan.release.is_empty() {
            store::release(&self.store, &self.id, &plan.release).await?;
            self.held.retain(|shard, _| !plan.release.contains(shard));
            self.tell_others();
        }
        if !plan.take.is_empty() {
            self.held = store::take(&self.store, &self.id, &plan.take).await?;
        }
        Ok(())
    }

    /// Whoever comes first among the living retires at once, the others only where that didn't help.
    fn begin_retirement(&mut self, id: &str, rank: usize) {
        if !self.in_retirement.insert(id.to_owned()) {
            return;
        }
        let (kafka, setup, store) = (Arc::clone(&self.kafka), self.setup.clone(), self.store.clone());
        let (id, me, wait) = (id.to_owned(), Arc::clone(&self.id), Duration::from_secs(1) * rank as u32);
        self.retiring.spawn(async move {
            tokio::time::sleep(wait).await;
            let gone = match store::look(&store, &me).await {
                Ok(view) => {
                    let holds_nothing = !view.expired.contains(&id) && view.held_by(&id).is_empty();
                    view.living.contains(&id) || holds_nothing
                }
                Err(_) => true,
            };
            if !gone {
                counter!(names::OUTBOX_TAKEOVERS, "service" => setup.service.to_string()).increment(1);
                if let Err(cause) = retire(&kafka, &setup, &store, &id).await {
                    let cause = format!("{cause:#}");
                    tracing::warn!(publisher = id, cause, "a publisher that is gone can't be retired yet");
                    tokio::time::sleep(PAUSE_AT_FIRST).await;
                }
            }
            id
        });
    }

    /// Publishes what waits in these shards, batch by batch.
    async fn publish(&mut self, shards: Vec<i16>) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now < self.paused_until {
                return Ok(());
            }
            self.on_hold.retain(|_, until| now < *until);
            let open: Vec<i16> = shards.iter().copied().filter(|shard| !self.on_hold.contains_key(shard)).collect();
            if open.is_empty() {
                return Ok(());
            }
            let bounds = self.bounds(open.len());
            let batch = match store::read(&self.store, &open, bounds).await {
                Ok(batch) => batch,
                Err(cause) => return self.later("the outbox can't be read", cause),
            };
            if batch.is_empty() {
                self.progress.end();
                return Ok(());
            }
            self.progress.begin();
            let read_at = Instant::now();
            let Some(producer) = &self.producer else { return Ok(()) };
            match producer.publish(&batch).await {
                Ok(()) => self.settle(&batch, read_at).await?,
                Err(Trouble::Refused(error)) => {
                    self.refused(&batch, &error);
                    continue;
                }
                Err(Trouble::Later(error)) => return self.later("Kafka doesn't take the outbox", error.into()),
                Err(Trouble::Lost(error)) => return Err(anyhow!(error).context("Kafka")),
            }
            let bytes: usize = batch.iter().map(|event| event.data.len()).sum();
            self.singly = self.singly.saturating_sub(1);
            if batch.len() < bounds.events_per_shard && bytes < bounds.bytes / 2 {
                return Ok(());
            }
            if Instant::now() >= self.next_look {
                // A look may publish by itself what it took; boxed, as it then comes back here.
                Box::pin(self.look()).await?;
                return Box::pin(self.publish(self.held.keys().copied().collect())).await;
            }
        }
    }

    fn bounds(&self, shards: usize) -> Bounds {
        let events = if self.singly > 0 { 1 } else { self.setup.batch };
        Bounds { events, events_per_shard: (events / shards).max(SHARD_EVENTS).min(events), bytes: BATCH_BYTES }
    }

    /// Marks a batch that is in Kafka. Tries until it has worked: until then nothing else is published.
    async fn settle(&mut self, batch: &[Waiting], read_at: Instant) -> anyhow::Result<()> {
        let mut wait = PAUSE_AT_FIRST;
        loop {
            match store::settle(&self.store, &self.id, &self.held, batch).await {
                Ok(marked) if marked == batch.len() as i64 => break,
                Ok(marked) => return Err(anyhow!("only {marked} of {} events were still ours", batch.len())),
                Err(cause) => {
                    tracing::warn!(
                        service = &*self.service.name,
                        cause = format!("{cause:#}"),
                        "published events can't be marked yet"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(PAUSE_AT_MOST);
                }
            }
            if self.lost.is_cancelled() {
                return Err(anyhow!("it was retired by another relay"));
            }
        }
        self.progress.end();
        if std::mem::replace(&mut self.pause, PAUSE_AT_FIRST) != PAUSE_AT_FIRST {
            tracing::info!(service = &*self.service.name, "the outbox moves again");
        }
        let seconds = histogram!(names::OUTBOX_PUBLISH_SECONDS, "service" => self.name());
        for event in batch {
            seconds.record(event.age + read_at.elapsed());
        }
        counter!(names::OUTBOX_PUBLISHED, "service" => self.name()).increment(batch.len() as u64);
        Ok(())
    }

    /// Kafka refuses an event, and with it those that were sent together with it. Where it is known which, its shard rests
    /// and the others go on. Order per key stands above getting on.
    fn refused(&mut self, batch: &[Waiting], error: &rdkafka::error::KafkaError) {
        let [event] = batch else {
            self.singly = batch.len();
            return;
        };
        self.singly = self.singly.saturating_sub(1);
        self.on_hold.insert(event.shard, Instant::now() + HOLD);
        counter!(names::OUTBOX_FAILURES, "service" => self.name(), "reason" => "refused").increment(1);
        tracing::error!(
            service = &*self.service.name,
            seq = event.seq,
            topic = event.topic,
            shard = event.shard,
            cause = %error,
            "Kafka refuses an event; its shard waits until it takes it"
        );
    }

    /// Pauses, longer each time.
    fn later(&mut self, what: &'static str, cause: anyhow::Error) -> anyhow::Result<()> {
        let (service, cause) = (&*self.service.name, format!("{cause:#}"));
        if self.pause == PAUSE_AT_FIRST {
            tracing::warn!(service, cause, what, "the outbox waits");
        } else {
            tracing::debug!(service, cause, what, "the outbox waits on");
        }
        counter!(names::OUTBOX_FAILURES, "service" => self.name(), "reason" => "unavailable").increment(1);
        self.paused_until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_AT_MOST);
        Ok(())
    }

    /// Publishes what is left, then frees what it holds, so that nobody has to wait for the leases to run out.
    async fn give_up(&mut self) -> End {
        if let Err(cause) = self.sweep().await {
            return End::Lost(cause);
        }
        if let Err(cause) = store::retire(&self.store, &self.id, &[]).await {
            let cause = format!("{cause:#}");
            tracing::warn!(service = &*self.service.name, cause, "the leases can't be released; they will run out");
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
