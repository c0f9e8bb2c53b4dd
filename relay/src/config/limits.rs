//! `[limits]`: what one request, one service and the relay may take. Every limit has a safe default, and a request that
//! exceeds one is answered with an error that names it.

use std::time::Duration;

use super::reader::Section;
use crate::backoff::Backoff;

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ty = $default:expr, $least:expr, $most:expr;)*) => {
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
            /// Every limit: its name, its default, the least and the most it may be, and what it says.
            pub const ALL: &[(&str, u64, u64, u64, &str)] =
                &[$((stringify!($name), $default, $least, $most, concat!($($doc),*)),)*];

            /// Reads a section; what it doesn't say stays as in `base`.
            pub(super) fn read(section: &Section<'_, '_>, base: &Self) -> Self {
                Self {
                    $($name: section.integer(stringify!($name), base.$name as u64, $least..=$most) as $kind,)*
                }
            }
        }
    };
}

limits! {
    // Requests
    /// The body of a request.
    body_bytes: usize = 1 << 20, 1 << 10, 1 << 28;
    /// The head of a request: request line and headers. For the whole relay.
    header_bytes: usize = 16 << 10, 8 << 10, 1 << 20;
    /// How long the head of a request may take to arrive. For the whole relay.
    header_read_timeout_ms: u64 = 10_000, 100, 600_000;
    /// How long the body of a request may take to arrive.
    body_read_timeout_ms: u64 = 10_000, 100, 600_000;
    /// How long a caller may take no piece of an answer that is there; its connection is closed after it. For the whole
    /// relay.
    write_timeout_ms: u64 = 10_000, 100, 600_000;
    /// Connections of components to the relay. For the whole relay.
    connections: usize = 4096, 1, 1 << 20;
    /// Requests of one service at once; one more is answered `overloaded`. Waiting queries aren't counted.
    requests_in_flight: usize = 256, 1, 1 << 20;
    /// Waiting queries of one service at once; one more is answered `overloaded`.
    waiting_queries: usize = 1024, 1, 1 << 20;
    /// The bytes of a cache key, a rate limit's key, a wake-up key or a tag.
    key_bytes: usize = 512, 16, 4096;

    // Units of work and queries
    /// The steps of a unit of work.
    steps: usize = 128, 1, 10_000;
    /// The events of a unit of work.
    events: usize = 128, 1, 10_000;
    /// The data of an event, as JSON.
    event_bytes: usize = 512 << 10, 1 << 10, 16 << 20;
    /// The text of a statement.
    statement_bytes: usize = 64 << 10, 1 << 10, 16 << 20;
    /// The parameters of a statement.
    parameters: usize = 1000, 1, 65_535;
    /// The rows that a statement may return.
    rows: usize = 1000, 1, 1_000_000;
    /// The values that the statements of one request may return, in bytes.
    result_bytes: usize = 4 << 20, 1 << 10, 1 << 30;
    /// The wake-up keys that a unit of work notifies or a query waits for.
    wakeup_keys: usize = 64, 1, 10_000;
    /// The cache tags that a unit of work invalidates or a value carries.
    cache_tags: usize = 64, 1, 1000;
    /// How long one statement may take.
    statement_timeout_ms: u64 = 5_000, 10, 3_600_000;
    /// How long a statement may wait for a lock.
    lock_timeout_ms: u64 = 3_000, 1, 3_600_000;
    /// How long PostgreSQL keeps a transaction open that nobody sends anything for: what a relay that was cut off
    /// leaves behind ends after this.
    idle_in_transaction_timeout_ms: u64 = 5_000, 100, 3_600_000;
    /// How long COMMIT may take, and after it the search for what became of it where its answer was lost.
    outcome_timeout_ms: u64 = 10_000, 100, 3_600_000;
    /// How long a unit of work may take with all its retries.
    transaction_timeout_ms: u64 = 15_000, 10, 3_600_000;
    /// How long a request may wait for a connection of the pool.
    pool_wait_ms: u64 = 2_000, 1, 600_000;
    /// How long connecting to PostgreSQL may take.
    connect_timeout_ms: u64 = 3_000, 10, 600_000;
    /// How often a unit of work is tried when it meets serialization failures or deadlocks.
    contention_attempts: u32 = 8, 1, 1000;
    /// The wait before its second try; doubles, with jitter.
    contention_backoff_ms: u64 = 5, 1, 60_000;
    /// Statements that a connection keeps prepared.
    prepared_statements: usize = 512, 1, 100_000;
    /// How long a query may wait for a row.
    wait_timeout_ms: u64 = 30_000, 1, 3_600_000;
    /// How often a waiting query looks though nobody woke it.
    wait_look_ms: u64 = 1_000, 10, 600_000;
    /// How long the id of a handled event is remembered. Longer than Kafka keeps events: one that comes again later
    /// would be handled again.
    inbox_retention_ms: u64 = 8 * 86_400_000, 60_000, 3_650 * 86_400_000;
    /// How long the answer under an idempotency key is remembered.
    idempotency_retention_ms: u64 = 86_400_000, 60_000, 3_650 * 86_400_000;

    // Redis
    /// How long one call to Redis may take.
    redis_timeout_ms: u64 = 500, 10, 60_000;
    /// A value in the cache, as JSON.
    cache_value_bytes: usize = 256 << 10, 1 << 10, 64 << 20;
    /// How long a value may be cached.
    cache_ttl_ms: u64 = 7 * 86_400_000, 1_000, 3_650 * 86_400_000;

    // Outbox
    /// Events of one shard that are sent before their acknowledgements are awaited.
    outbox_batch: usize = 500, 1, 100_000;
    /// How long a relay holds a shard or a timer before it must renew; a dead one's work is taken over after this.
    lease_ms: u64 = 10_000, 500, 600_000;
    /// How often the sweep looks for events that nobody published.
    outbox_sweep_ms: u64 = 1_000, 50, 600_000;
    /// How long a published event stays in the outbox, for a person to look at.
    outbox_retention_ms: u64 = 86_400_000, 1_000, 3_650 * 86_400_000;
    /// How often what nobody needs any longer is deleted: published events, ids of handled events, stored answers.
    purge_every_ms: u64 = 60_000, 100, 86_400_000;

    // Deliveries
    /// Events of one service that are delivered at once; each key has one at most.
    delivery_lanes: usize = 32, 1, 10_000;
    /// Events of one service that are fetched before they are done; beyond it partitions are paused.
    delivery_buffer: usize = 1_000, 1, 1_000_000;
    /// How long Kafka waits for a relay that says nothing before it gives its partitions to others. Kafka refuses less
    /// than its own group.min.session.timeout.ms, 6 s by default.
    delivery_session_ms: u64 = 6_000, 1_000, 600_000;
    /// How long a component may take to answer a delivery or a timer.
    delivery_timeout_ms: u64 = 30_000, 10, 600_000;
    /// How often an event that a component fails on (500 or a trap) is delivered before it is a dead letter.
    delivery_attempts: u32 = 5, 1, 1000;
    /// The wait before the second delivery; doubles, with jitter.
    delivery_backoff_ms: u64 = 100, 1, 600_000;
    /// The longest wait between two deliveries.
    delivery_backoff_max_ms: u64 = 10_000, 1, 3_600_000;
}

impl Limits {
    /// Between two deliveries of one event, and between two calls of a timer.
    pub(crate) fn delivery_backoff(&self) -> Backoff {
        let ms = Duration::from_millis;
        Backoff::new(ms(self.delivery_backoff_ms), ms(self.delivery_backoff_max_ms))
    }
}
