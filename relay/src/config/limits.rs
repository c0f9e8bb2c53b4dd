//! `[limits]`: what one request, one service and the whole relay may use. Every limit has a safe default. The relay
//! answers a request that exceeds one with an error that names it. docs/limits.md says what happens beyond each.

use std::time::Duration;

use super::reader::Section;
use crate::backoff::Backoff;

/// How much later than PostgreSQL itself the relay gives a statement up.
const POSTGRES_GRACE: Duration = Duration::from_secs(2);

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ty = $default:expr, $min:expr, $max:expr;)*) => {
        /// The limits. A name that ends in `_ms` counts milliseconds, one that ends in `_bytes` counts bytes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $name: $kind,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Every limit: its name, its default, its minimum, its maximum, and its meaning.
            pub const ALL: &[(&str, u64, u64, u64, &str)] =
                &[$((stringify!($name), $default, $min, $max, concat!($($doc),*)),)*];

            /// Reads a section; what it doesn't say stays as in `base`.
            pub(super) fn read(section: &Section<'_, '_>, base: &Self) -> Self {
                Self {
                    $($name: section.integer(stringify!($name), base.$name as u64, $min..=$max) as $kind,)*
                }
            }
        }
    };
}

limits! {
    // Requests
    /// The largest body of a request.
    body_bytes: usize = 1 << 20, 1 << 10, 1 << 28;
    /// Bodies of requests of one service that arrive or are at work, all together, by the lengths that they announce; the
    /// relay answers one more with `overloaded`. A body without a length counts as the largest.
    bodies_bytes: usize = 32 << 20, 1 << 10, 1 << 34;
    /// The largest head of a request: request line and headers. For the whole relay.
    header_bytes: usize = 16 << 10, 8 << 10, 1 << 20;
    /// Header timeout: closes the connection if the head of a request takes longer to arrive. For the whole relay.
    header_read_timeout_ms: u64 = 10_000, 100, 600_000;
    /// Body timeout: refuses a request whose body takes longer to arrive.
    body_read_timeout_ms: u64 = 10_000, 100, 600_000;
    /// Write timeout: closes the connection if the client reads nothing for this long. For the whole relay.
    write_timeout_ms: u64 = 10_000, 100, 600_000;
    /// Open connections of components; further ones wait. For the whole relay.
    connections: usize = 4096, 1, 1 << 20;
    /// Open connections to the port of health and metrics; one more closes the oldest. For the whole relay.
    admin_connections: usize = 256, 1, 1 << 20;
    /// Requests of one service in flight; the relay answers one more with `overloaded`. Waiting queries aren't counted.
    requests_in_flight: usize = 256, 1, 1 << 20;
    /// Waiting queries of one service; the relay answers one more with `overloaded`.
    waiting_queries: usize = 1024, 1, 1 << 20;
    /// The longest cache key, rate limit key, wake-up key or cache tag.
    key_bytes: usize = 512, 16, 4096;

    // Units of work and queries
    /// Steps of a unit of work.
    steps: usize = 128, 1, 10_000;
    /// Events of a unit of work.
    events: usize = 128, 1, 10_000;
    /// The largest data of an event, as JSON.
    event_bytes: usize = 512 << 10, 1 << 10, 16 << 20;
    /// The longest text of a statement.
    statement_bytes: usize = 64 << 10, 1 << 10, 16 << 20;
    /// Parameters of a statement.
    parameters: usize = 1000, 1, 65_535;
    /// Rows that a statement may return.
    rows: usize = 1000, 1, 1_000_000;
    /// The largest result of a request: the values that all its statements return.
    result_bytes: usize = 4 << 20, 1 << 10, 1 << 30;
    /// Wake-up keys that a unit of work notifies or a query waits for.
    wakeup_keys: usize = 64, 1, 10_000;
    /// Cache tags that a unit of work invalidates or a value carries.
    cache_tags: usize = 64, 1, 1000;
    /// Statement timeout: PostgreSQL cancels a statement that runs longer.
    statement_timeout_ms: u64 = 5_000, 10, 3_600_000;
    /// Lock timeout: PostgreSQL fails a statement that waits longer for a lock.
    lock_timeout_ms: u64 = 3_000, 1, 3_600_000;
    /// Idle timeout: PostgreSQL ends a transaction that gets no statement for this long, such as that of a relay that
    /// was cut off.
    idle_in_transaction_timeout_ms: u64 = 5_000, 100, 3_600_000;
    /// COMMIT timeout: how long the relay waits for the answer to COMMIT. If the answer is lost, it asks PostgreSQL for as
    /// long again whether the COMMIT took place.
    outcome_timeout_ms: u64 = 10_000, 100, 3_600_000;
    /// Transaction timeout: gives a unit of work up after this long, with all its retries.
    transaction_timeout_ms: u64 = 15_000, 10, 3_600_000;
    /// Pool timeout: how long a request waits for a free connection to PostgreSQL.
    pool_wait_ms: u64 = 2_000, 1, 600_000;
    /// Connect timeout: how long connecting to PostgreSQL may take.
    connect_timeout_ms: u64 = 3_000, 10, 600_000;
    /// Tries of a unit of work that meets serialization failures or deadlocks.
    contention_attempts: u32 = 8, 1, 1000;
    /// Back-off before the second of these tries; doubles, with jitter.
    contention_backoff_ms: u64 = 5, 1, 60_000;
    /// Statements that a connection keeps prepared; the least recently used one gives way.
    prepared_statements: usize = 512, 1, 100_000;
    /// The longest time that a query may wait for a row.
    wait_timeout_ms: u64 = 30_000, 1, 3_600_000;
    /// How often a waiting query runs again without a wake-up.
    wait_look_ms: u64 = 1_000, 10, 600_000;
    /// How long the inbox keeps the id of a handled event. Keep it longer than Kafka keeps events: the relay doesn't
    /// recognise a duplicate that comes later.
    inbox_retention_ms: u64 = 8 * 86_400_000, 60_000, 3_650 * 86_400_000;
    /// How long the relay keeps the answer under an idempotency key.
    idempotency_retention_ms: u64 = 86_400_000, 60_000, 3_650 * 86_400_000;

    // Redis
    /// Redis timeout: how long one call to Redis may take.
    redis_timeout_ms: u64 = 500, 10, 60_000;
    /// The largest value in the cache, as JSON.
    cache_value_bytes: usize = 256 << 10, 1 << 10, 64 << 20;
    /// The longest time to live of a cached value.
    cache_ttl_ms: u64 = 7 * 86_400_000, 1_000, 3_650 * 86_400_000;

    // Outbox
    /// Events of one batch, over all shards of a service that the relay publishes. It reads the next batch once Kafka has
    /// committed this one.
    outbox_batch: usize = 500, 1, 100_000;
    /// Lease: how long a relay holds its shards and timers without renewing them. Then other relays take them over.
    lease_ms: u64 = 10_000, 500, 600_000;
    /// How often the publisher looks for events that no wake-up announced.
    outbox_sweep_ms: u64 = 1_000, 50, 600_000;
    /// How long a published event stays in the outbox table, for a person to look at.
    outbox_retention_ms: u64 = 86_400_000, 1_000, 3_650 * 86_400_000;
    /// How often the relay deletes rows whose retention is over: published events, ids of handled events, stored answers.
    purge_every_ms: u64 = 60_000, 100, 86_400_000;

    // Deliveries
    /// Deliveries of one service in flight; each key has one at most.
    delivery_lanes: usize = 32, 1, 10_000;
    /// Events of one service that are fetched and not done; beyond it the relay pauses partitions.
    delivery_buffer: usize = 1_000, 1, 1_000_000;
    /// The largest record that is delivered: key, headers and data. A larger one becomes a dead letter that refers to it.
    delivery_bytes: usize = 8 << 20, 64 << 10, 64 << 20;
    /// Session timeout: Kafka gives a relay's partitions to others if it hears nothing of the relay for this long. Kafka
    /// refuses less than its own group.min.session.timeout.ms, 6 s by default.
    delivery_session_ms: u64 = 6_000, 1_000, 600_000;
    /// Delivery timeout: how long a component may take to answer a delivery or a timer.
    delivery_timeout_ms: u64 = 30_000, 10, 600_000;
    /// Deliveries of an event on which the component fails (500, such as a trap, or any 5xx but 502, 503, 504 and
    /// 511) before it becomes a dead letter.
    delivery_attempts: u32 = 5, 1, 1000;
    /// Back-off before the second delivery; doubles, with jitter.
    delivery_backoff_ms: u64 = 100, 1, 600_000;
    /// The longest back-off between two deliveries.
    delivery_backoff_max_ms: u64 = 10_000, 1, 3_600_000;
}

impl Limits {
    /// How long the relay waits for PostgreSQL's answer to a statement. The server's own timeout comes first, unless the server
    /// stands still.
    pub(crate) fn postgres_patience(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms) + POSTGRES_GRACE
    }

    /// How long a unit of work may take to its last COMMIT, and that to its outcome, if nothing tells it.
    pub(crate) fn longest_unit(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms + 2 * self.outcome_timeout_ms)
    }

    /// Between two deliveries of one event, and between two calls of a timer.
    pub(crate) fn delivery_backoff(&self) -> Backoff {
        let ms = Duration::from_millis;
        Backoff::new(ms(self.delivery_backoff_ms), ms(self.delivery_backoff_max_ms))
    }
}
