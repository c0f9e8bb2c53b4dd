//! Every metric of the relay: its name, its unit, what it says. Served in Prometheus' format at `/metrics`.
//!
//! Labels are few and bounded: names from relay.toml, routes, codes. Never a key, an id or a text of a caller.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

macro_rules! metrics {
    ($($kind:ident $name:ident $text:literal $unit:ident $doc:literal;)*) => {
        $(#[doc = $doc] pub(crate) const $name: &str = $text;)*

        fn describe() {
            $(metrics!(@$kind $text, $unit, $doc);)*
        }
    };
    (@counter $text:literal, $unit:ident, $doc:literal) => { describe_counter!($text, Unit::$unit, $doc) };
    (@gauge $text:literal, $unit:ident, $doc:literal) => { describe_gauge!($text, Unit::$unit, $doc) };
    (@histogram $text:literal, $unit:ident, $doc:literal) => { describe_histogram!($text, Unit::$unit, $doc) };
}

metrics! {
    // The interface
    counter REQUESTS "towpath_relay_requests_total" Count "Answered requests, by service, call and code (`ok`, or that of the problem).";
    histogram REQUEST_SECONDS "towpath_relay_request_duration_seconds" Seconds "From the head of a request to its answer, by service and call. Waiting queries count under a call of their own.";
    gauge REQUESTS_IN_FLIGHT "towpath_relay_requests_in_flight" Count "Requests that are being worked on, by service.";
    gauge QUERIES_WAITING "towpath_relay_queries_waiting" Count "Queries that wait for a row, by service.";
    gauge CONNECTIONS "towpath_relay_connections" Count "Open connections of components.";
    counter PANICS "towpath_relay_panics_total" Count "Requests that ended in a panic of the relay.";

    // PostgreSQL
    counter UNITS_REPEATED "towpath_relay_units_repeated_total" Count "Tries of units of work beyond the first, by service and reason (`contention`, `lost` connection, `stale` statement).";
    counter DUPLICATES "towpath_relay_duplicates_total" Count "Units of work that had committed before and changed nothing, by service and what found the duplicate (`inbox`, `idempotency_key`).";
    counter COMMITS_IN_DOUBT "towpath_relay_commits_in_doubt_total" Count "COMMITs whose answer was lost, by service and what became of them (`committed`, `aborted`, `unknown`).";
    counter CONNECTIONS_DISCARDED "towpath_relay_connections_discarded_total" Count "Connections to PostgreSQL that were closed because their transaction was still open when they were let go of.";
    gauge POOL_CONNECTIONS "towpath_relay_pool_connections" Count "Connections to PostgreSQL, by service, pool and state (`idle`, `busy`).";
    gauge POOL_WAITING "towpath_relay_pool_waiting" Count "Who waits for a connection, by service and pool.";

    // Redis
    gauge REDIS_UP "towpath_relay_redis_up" Count "1 while the connection to Redis stands.";
    counter REDIS_FAILURES "towpath_relay_redis_failures_total" Count "Calls to Redis that failed, by reason (`away`, `slow`, `refused`).";
    counter CACHE_LOOKUPS "towpath_relay_cache_lookups_total" Count "Look-ups in the cache, by service, kind (`key`, `query`) and result (`hit`, `miss`, `off`).";
    counter CACHE_INVALIDATIONS_LATE "towpath_relay_cache_invalidations_late_total" Count "Tags that could not be invalidated at once, as Redis was away, by service.";
    counter RATE_LIMITED "towpath_relay_rate_limit_decisions_total" Count "Decisions on rate limits, by service and result (`allowed`, `denied`).";
    counter WAKEUPS "towpath_relay_wakeups_total" Count "Wake-up keys, by way: `sent` to other relays, `heard` from them, `dropped` as too many waited for Redis.";

    // The outbox
    gauge OUTBOX_SHARDS "towpath_relay_outbox_shards" Count "Shards of a service's outbox that this relay publishes, by service.";
    gauge OUTBOX_WAITING "towpath_relay_outbox_waiting" Count "Events that wait to be published, by service; counted up to 10,000. Every relay says the same.";
    gauge OUTBOX_OLDEST_SECONDS "towpath_relay_outbox_oldest_seconds" Seconds "The age of the oldest event that waits to be published, by service. Every relay says the same.";
    counter OUTBOX_PUBLISHED "towpath_relay_outbox_published_total" Count "Events that were published, by service.";
    histogram OUTBOX_PUBLISH_SECONDS "towpath_relay_outbox_publish_duration_seconds" Seconds "From the beginning of a unit of work to its event in Kafka, by service.";
    counter OUTBOX_FAILURES "towpath_relay_outbox_failures_total" Count "Batches that weren't published, by service and reason (`unavailable`, `refused`, `lost`).";
    counter OUTBOX_TAKEOVERS "towpath_relay_outbox_takeovers_total" Count "Publishers that were gone and whose shards this relay freed, by service.";
    counter RETENTION_ROWS "towpath_relay_retention_deleted_rows_total" Count "Old rows that were deleted (published events, ids of handled events, stored answers), by service.";

    // Deliveries and timers
    counter DELIVERIES "towpath_relay_deliveries_total" Count "Events by what became of a delivery, by service and result (`accepted`, `held_back`, `dead_letter`, `skipped`).";
    histogram DELIVERY_SECONDS "towpath_relay_delivery_duration_seconds" Seconds "One call of a component, by service.";
    histogram DELIVERY_LAG_SECONDS "towpath_relay_delivery_lag_seconds" Seconds "From an event's time in Kafka to its acceptance, by service.";
    gauge DELIVERY_BUFFER "towpath_relay_delivery_buffer" Count "Events that were fetched and aren't done, by service.";
    gauge LANES_HELD_BACK "towpath_relay_lanes_held_back" Count "Keys that wait before their event is delivered again, by service.";
    gauge PARTITIONS "towpath_relay_partitions" Count "Partitions that are assigned to this relay, by service.";
    counter REBALANCES "towpath_relay_rebalances_total" Count "How often partitions were assigned, by service.";
    counter DEAD_LETTERS "towpath_relay_dead_letters_total" Count "Events that became dead letters, by service and reason (`refused`, `failed`, `malformed`).";
    gauge DEAD_LETTERS_OPEN "towpath_relay_dead_letters_open" Count "Dead letters that nobody replayed or dropped yet, by service.";
    counter TIMER_CALLS "towpath_relay_timer_calls_total" Count "Calls of timers, by service, timer and result (`accepted`, `failed`).";
}

/// Buckets of durations, in seconds: a unit of work takes a millisecond or two, a delivery may take half a minute.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0,
    32.0,
];

/// How often histograms are drained: nobody may ever scrape them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to record. Once per process; later calls answer the same handle. `None` where somebody else records.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS);
            let handle = builder.ok()?.install_recorder().ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

/// Keeps what is recorded small, until dropped.
pub(crate) async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}
