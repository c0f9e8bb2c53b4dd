//! Wake-ups: a unit of work makes queries that wait for its keys run again.
//!
//! A wake-up is a hint and may be lost; a waiter looks again by itself from time to time. Within the process it arrives at once.
//! Other relays that serve the same service get it through Redis pub/sub; after a reconnect every waiter is woken, since wake-ups
//! may have been missed.
//!
//! To lose none: register, look, wait. A wake-up that comes between the first and the last is kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{RECONNECT, Redis, RedisFailure, Request};
use crate::backoff::Failures;
use crate::config::Config;
use crate::telemetry::metrics::WAKEUPS;
use crate::turns::Turns;

/// Wake-ups that wait for Redis; further ones stay within the process.
const MAX_QUEUE: usize = 4096;
/// Wake-ups that go to Redis in one round trip.
const MAX_BATCH: usize = 256;
/// How often a silent subscription is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Whose keys: those that services choose can't collide with the relay's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Keys that a service's units of work and queries name.
    Service,
    /// The relay's own: shards of outboxes.
    Relay,
}

/// The waiters and their keys. Cheap to clone.
#[derive(Clone)]
pub struct Wakeups(Arc<Inner>);

struct Inner {
    instance: String,
    prefix: String,
    services: Vec<String>,
    waiters: Mutex<HashMap<String, Vec<Arc<Notify>>>>,
    outgoing: mpsc::Sender<Outgoing>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Outgoing>>,
    /// Batches that were sent, or that Redis didn't take.
    sent: Turns,
    /// What this relay said to itself and heard.
    echoes: Turns,
}

struct Outgoing {
    service: Arc<str>,
    keys: Vec<String>,
}

/// What travels through Redis. The channel names the service.
#[derive(Serialize, Deserialize)]
struct Message {
    from: String,
    keys: Vec<String>,
}

impl Wakeups {
    /// An empty registry.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let (outgoing, queue) = mpsc::channel(MAX_QUEUE);
        Self(Arc::new(Inner {
            instance: config.relay.instance.clone(),
            prefix: format!("{}:wakeups:", config.redis.prefix),
            services: config.services.keys().cloned().collect(),
            waiters: Mutex::default(),
            outgoing,
            queue: tokio::sync::Mutex::new(queue),
            sent: Turns::default(),
            echoes: Turns::default(),
        }))
    }

    /// Registers for keys of a service. From the return of this call on no wake-up is missed.
    #[must_use]
    pub fn register<K: AsRef<str>>(&self, space: Space, service: &str, keys: &[K]) -> Waiter {
        let notify = Arc::new(Notify::new());
        let keys: Vec<String> = keys.iter().map(|key| scoped(service, &within(space, key.as_ref()))).collect();
        let mut waiters = self.waiters();
        for key in &keys {
            waiters.entry(key.clone()).or_default().push(Arc::clone(&notify));
        }
        drop(waiters);
        Waiter { registry: self.clone(), keys, notify }
    }

    /// Wakes the waiters for these keys: here at once, on other relays through Redis. Never blocks.
    pub fn notify<K: AsRef<str>>(&self, space: Space, service: &Arc<str>, keys: &[K]) {
        if keys.is_empty() {
            return;
        }
        let keys: Vec<String> = keys.iter().map(|key| within(space, key.as_ref())).collect();
        self.wake_here(service, &keys);
        let count = keys.len() as u64;
        let outgoing = Outgoing { service: Arc::clone(service), keys };
        match self.0.outgoing.try_send(outgoing) {
            Ok(()) => counter!(WAKEUPS, "way" => "sent").increment(count),
            Err(_) => counter!(WAKEUPS, "way" => "dropped").increment(count),
        }
    }

    /// How many wait for keys of services.
    #[must_use]
    pub fn len(&self) -> usize {
        let of_services = |key: &str| key.split_once('/').is_some_and(|(_, within)| within.starts_with("s/"));
        self.waiters().iter().filter(|(key, _)| of_services(key)).map(|(_, waiters)| waiters.len()).sum()
    }

    /// Whether there is no waiter for a key of a service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a waiter for a key in this process.
    #[must_use]
    pub fn is_awaited(&self, space: Space, service: &str, key: &str) -> bool {
        self.waiters().contains_key(&scoped(service, &within(space, key)))
    }

    /// Carries wake-ups to other relays until told to stop.
    pub(crate) async fn send(self, redis: Redis, stop: CancellationToken) {
        let mut queue = self.0.queue.lock().await;
        let _ = stop.run_until_cancelled(self.send_for_ever(&redis, &mut queue)).await;
    }

    async fn send_for_ever(&self, redis: &Redis, queue: &mut mpsc::Receiver<Outgoing>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let mut pipeline = ::redis::pipe();
            for Outgoing { service, keys } in batch.drain(..) {
                let message = Message { from: self.0.instance.clone(), keys };
                let payload = serde_json::to_vec(&message).unwrap_or_default();
                pipeline.publish(format!("{}{service}", self.0.prefix), payload).ignore();
            }
            // Lost with Redis: the slow second look covers it.
            if let Err(failure) = redis.call::<()>(Request::Commands(&pipeline)).await {
                tracing::debug!(cause = %failure, "sending wake-ups to other relays failed");
            }
            self.0.sent.turn();
        }
    }

    /// Hears wake-ups of other relays until told to stop.
    pub(crate) async fn receive(self, redis: Redis, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.receive_for_ever(&redis)).await;
    }

    async fn receive_for_ever(&self, redis: &Redis) {
        let mut failures = RECONNECT.failures();
        loop {
            if let Err(cause) = self.receive_until_it_fails(redis, &mut failures).await {
                tracing::debug!(%cause, "the subscription to wake-ups broke; reconnecting");
            }
            tokio::time::sleep(failures.next()).await;
        }
    }

    async fn receive_until_it_fails(&self, redis: &Redis, failures: &mut Failures) -> anyhow::Result<()> {
        let limit = redis.timeout();
        let pubsub = timeout(limit, redis.client().get_async_pubsub()).await??;
        let (mut sink, mut stream) = pubsub.split();
        for service in &self.0.services {
            timeout(limit, sink.subscribe(format!("{}{service}", self.0.prefix))).await??;
        }
        timeout(limit, sink.subscribe(self.echo_channel())).await??;
        failures.reset();
        self.wake_all_here();
        loop {
            match timeout(PING_EVERY, stream.next()).await {
                Ok(Some(message)) => self.hear(&message),
                Ok(None) => anyhow::bail!("the connection was closed"),
                Err(_) => timeout(limit, sink.ping::<()>()).await??,
            }
        }
    }

    fn hear(&self, message: &::redis::Msg) {
        if message.get_channel_name() == self.echo_channel() {
            return self.0.echoes.turn();
        }
        let Some(service) = message.get_channel_name().strip_prefix(&self.0.prefix) else { return };
        match serde_json::from_slice::<Message>(message.get_payload_bytes()) {
            Ok(message) if message.from == self.0.instance => {}
            Ok(message) => {
                counter!(WAKEUPS, "way" => "heard").increment(message.keys.len() as u64);
                self.wake_here(service, &message.keys);
            }
            Err(cause) => tracing::debug!(%cause, "a wake-up can't be read"),
        }
    }

    /// Where this relay says something to itself. No service has a slash in its name.
    fn echo_channel(&self) -> String {
        format!("{}/{}", self.0.prefix, self.0.instance)
    }

    /// Says something to itself, through Redis.
    pub(super) async fn echo(&self, redis: &Redis) -> Result<(), RedisFailure> {
        let mut publish = ::redis::cmd("PUBLISH");
        redis.call(Request::Command(publish.arg(self.echo_channel()).arg(""))).await
    }

    /// How often it heard that.
    pub(super) fn echoes(&self) -> u64 {
        self.0.echoes.count()
    }

    /// How many batches went out, while some wait.
    pub(super) fn sent_while_some_wait(&self) -> Option<u64> {
        let waits = self.0.outgoing.capacity() < self.0.outgoing.max_capacity();
        waits.then(|| self.0.sent.count())
    }

    fn wake_here(&self, service: &str, keys: &[String]) {
        let waiters = self.waiters();
        if waiters.is_empty() {
            return;
        }
        for key in keys {
            for waiter in waiters.get(&scoped(service, key)).into_iter().flatten() {
                waiter.notify_one();
            }
        }
    }

    fn wake_all_here(&self) {
        for waiter in self.waiters().values().flatten() {
            waiter.notify_one();
        }
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Notify>>>> {
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wakeups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").field("keys", &self.waiters().len()).finish_non_exhaustive()
    }
}

/// A service's name has no slash, so that this is unambiguous.
fn scoped(service: &str, key: &str) -> String {
    format!("{service}/{key}")
}

fn within(space: Space, key: &str) -> String {
    match space {
        Space::Service => format!("s/{key}"),
        Space::Relay => format!("r/{key}"),
    }
}

/// A waiter for keys. Dropping it ends the registration.
#[derive(Debug)]
pub struct Waiter {
    registry: Wakeups,
    keys: Vec<String>,
    notify: Arc<Notify>,
}

impl Waiter {
    /// Until one of the keys was notified, since the registration or since this last returned. Safe to cancel.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.registry.waiters();
        for key in &self.keys {
            if let Some(list) = waiters.get_mut(key) {
                list.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
                if list.is_empty() {
                    waiters.remove(key);
                }
            }
        }
    }
}
