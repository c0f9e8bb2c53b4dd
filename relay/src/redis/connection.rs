//! One connection to Redis for all requests, and a task that keeps it.
//!
//! A call never waits longer than `limits.redis_timeout_ms`, whether Redis refuses, hangs or is gone. While Redis is known to be
//! away calls fail at once, until the task has connected again.
//!
//! After a failover the connection may still lead to the server that was the master. It refuses to write (READONLY) and
//! answers everything else, so the call that hears it has the task connect anew, by name, and is sent again: it ran nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, PushKind,
    RedisError, ScriptInvocation, ServerErrorKind,
};
use metrics::counter;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::failure::Failure;
use crate::telemetry::metrics::REDIS_FAILURES;

/// How often the keeper looks whether the connection still answers.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to connect.
pub(super) const RECONNECT: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
/// Calls that may be queued on the connection before further ones wait for their turn.
const MAX_QUEUE: usize = 1024;

/// Why a call to Redis came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisFailure {
    /// It was away already when the call came.
    #[error("Redis is away")]
    Away,
    /// It didn't answer in time.
    #[error("Redis didn't answer within {0:?}")]
    Slow(Duration),
    /// It refused, or the connection broke.
    #[error(transparent)]
    Refused(#[from] RedisError),
    /// It is the replica of another: after a failover, what the connection leads to is no longer the master.
    #[error("Redis is a replica now")]
    Replica,
}

impl From<RedisFailure> for Failure {
    fn from(failure: RedisFailure) -> Self {
        Self::unavailable("Redis", failure)
    }
}

/// What is sent in one round trip.
#[derive(Clone, Copy)]
pub(crate) enum Request<'a> {
    Command(&'a Cmd),
    Commands(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

impl Request<'_> {
    async fn send<T: FromRedisValue>(self, connection: &mut MultiplexedConnection) -> Result<T, RedisError> {
        match self {
            Self::Command(command) => command.query_async(connection).await,
            Self::Commands(commands) => commands.query_async(connection).await,
            Self::Script(script) => script.invoke_async(connection).await,
        }
    }
}

#[derive(Clone)]
enum Link {
    /// Not known yet: calls wait for the outcome.
    Connecting,
    /// With how many there were before it.
    Up(MultiplexedConnection, u64),
    /// For this reason.
    Away(Arc<str>),
}

/// The handle on Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    prefix: Arc<str>,
    timeout: Duration,
    link: Arc<watch::Sender<Link>>,
    /// How many connections there were, also under keepers before this one: no number comes twice.
    connections: Arc<AtomicU64>,
    /// A call met an error: the keeper shall look now.
    suspect: Arc<Notify>,
}

impl Redis {
    /// A handle that isn't connected: [`keep`](Self::keep) connects it.
    ///
    /// # Errors
    /// Where the URL isn't one.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let client = Client::open(config.redis.url.expose())?;
        let info = client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Self {
            client: Client::open(info.set_redis_settings(settings))?,
            prefix: config.redis.prefix.as_str().into(),
            timeout: Duration::from_millis(config.limits.redis_timeout_ms),
            link: Arc::new(watch::Sender::new(Link::Connecting)),
            connections: Arc::default(),
            suspect: Arc::new(Notify::new()),
        })
    }

    /// What every key and channel starts with, without a colon at its end.
    #[must_use]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The client, for a connection of one's own.
    #[must_use]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How long one call may take.
    #[must_use]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the connection stands, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(*self.link.borrow(), Link::Up(..))
    }

    /// Why the connection doesn't stand, as far as is known; `None` where it does. Holds no secret.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        match &*self.link.borrow() {
            Link::Up(..) => None,
            Link::Connecting => Some("not connected yet".into()),
            Link::Away(cause) => Some(Arc::clone(cause)),
        }
    }

    /// Sends a request on the connection, and waits for its answer.
    ///
    /// # Errors
    /// Where Redis is away, slow, or refuses.
    pub(crate) async fn call<T: FromRedisValue>(&self, request: Request<'_>) -> Result<T, RedisFailure> {
        let call = async {
            let (mut connection, number) = self.connection().await?;
            match request.send(&mut connection).await {
                Err(error) if is_of_a_replica(&error) => {
                    self.leave(number);
                    let (mut connection, _) = self.connection().await?;
                    Ok(request.send(&mut connection).await?)
                }
                answer => Ok(answer?),
            }
        };
        let answer = timeout(self.timeout, call).await.unwrap_or(Err(RedisFailure::Slow(self.timeout)));
        answer.inspect_err(|failure| self.note(failure))
    }

    /// Has the keeper connect anew, unless it has done so already.
    fn leave(&self, number: u64) {
        let left = self.link.send_if_modified(|link| {
            let here = matches!(link, Link::Up(_, now) if *now == number);
            if here {
                *link = Link::Connecting;
            }
            here
        });
        if left {
            self.suspect.notify_one();
        }
    }

    /// Waits until there is another connection than the one with this number, and answers its number.
    pub(super) async fn connected_anew(&self, last: Option<u64>) -> Option<u64> {
        let mut link = self.link.subscribe();
        let known = link.wait_for(|link| matches!(link, Link::Up(_, number) if Some(*number) != last)).await;
        match known.as_deref() {
            Ok(Link::Up(_, number)) => Some(*number),
            _ => None,
        }
    }

    /// Whether a call gets through now. Counts as no call.
    pub(super) async fn gets_through(&self) -> bool {
        let ping = async {
            let (mut connection, _) = self.connection().await?;
            Ok::<(), RedisFailure>(::redis::cmd("PING").query_async(&mut connection).await?)
        };
        matches!(timeout(self.timeout, ping).await, Ok(Ok(())))
    }

    /// Whether Redis answers a connection of its own.
    pub(super) async fn answers(&self) -> bool {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout));
        let ask = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            ::redis::cmd("PING").query_async::<()>(&mut connection).await
        };
        matches!(timeout(self.timeout, ask).await, Ok(Ok(())))
    }

    fn note(&self, failure: &RedisFailure) {
        let (reason, suspicious) = match failure {
            RedisFailure::Away => ("away", false),
            RedisFailure::Slow(_) => ("slow", true),
            RedisFailure::Refused(error) => ("refused", error.is_io_error()),
            RedisFailure::Replica => ("refused", false),
        };
        counter!(REDIS_FAILURES, "reason" => reason).increment(1);
        if suspicious {
            self.suspect.notify_one();
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisFailure> {
        let mut link = self.link.subscribe();
        let known = link.wait_for(|link| !matches!(link, Link::Connecting)).await;
        match known.as_deref() {
            Ok(Link::Up(connection, number)) => Ok((connection.clone(), *number)),
            _ => Err(RedisFailure::Away),
        }
    }

    /// Connects, looks after the connection, and reconnects, until told to stop.
    pub async fn keep(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.keep_for_ever()).await;
        self.link.send_replace(Link::Away("the relay stops".into()));
    }

    async fn keep_for_ever(&self) {
        let mut failures = RECONNECT.failures();
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!("connected to Redis");
                    let began = Instant::now();
                    let number = self.connections.fetch_add(1, Ordering::Relaxed);
                    self.link.send_replace(Link::Up(connection.clone(), number));
                    let failure = self.until_it_fails(connection).await;
                    tracing::warn!(cause = %failure, "the connection to Redis broke; reconnecting");
                    let short = began.elapsed() < CHECK_EVERY;
                    // A broken connection is often back at once, so calls wait for it. One that hangs is not, and neither
                    // is one that broke when it was just made.
                    let slow = matches!(failure, RedisFailure::Slow(_));
                    let away = slow || short;
                    let link = if away { Link::Away(failure.to_string().into()) } else { Link::Connecting };
                    self.link.send_replace(link);
                    if short {
                        tokio::time::sleep(failures.next()).await;
                    } else {
                        failures.reset();
                    }
                }
                Err(failure) => {
                    let before = self.link.send_replace(Link::Away(failure.to_string().into()));
                    if !matches!(before, Link::Away(_)) {
                        tracing::warn!(cause = %failure, "Redis can't be reached; retrying");
                    }
                    tokio::time::sleep(failures.next()).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisFailure> {
        let suspect = Arc::clone(&self.suspect);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(MAX_QUEUE)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    suspect.notify_one();
                }
                Ok::<(), ::redis::aio::SendError>(())
            });
        let connecting = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            // A user that may do nothing logs in all the same.
            ::redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        Ok(timeout(self.timeout, connecting).await.map_err(|_| RedisFailure::Slow(self.timeout))??)
    }

    async fn until_it_fails(&self, mut connection: MultiplexedConnection) -> RedisFailure {
        loop {
            let _ = timeout(CHECK_EVERY, self.suspect.notified()).await;
            if !self.is_up() {
                return RedisFailure::Replica;
            }
            match timeout(self.timeout, ::redis::cmd("PING").query_async::<()>(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_timeout() => return RedisFailure::Slow(self.timeout),
                Ok(Err(error)) => return error.into(),
                Err(_) => return RedisFailure::Slow(self.timeout),
            }
        }
    }
}

/// Whether a server that is no master says so. A script of an older Redis passes the word on in its text.
fn is_of_a_replica(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
        || error.detail().is_some_and(|detail| detail.contains("READONLY"))
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}
