//! Every metric of the relay: name, unit, labels, meaning. The relay serves them in Prometheus' format at `/metrics`.
//!
//! Labels are few and bounded: names from relay.toml, calls, codes. Never a key, an id or a text of a caller.
//!
//! A new metric is one line in `metrics!` below; docs/metrics.md is generated from it.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::turns::Turns;

macro_rules! metrics {
    ($($group:literal { $($kind:ident $name:ident $text:literal $unit:ident [$($label:literal)*] $doc:literal;)* })*) => {
        $($(#[doc = $doc] pub(crate) const $name: &str = $text;)*)*

        fn describe() {
            $($(metrics!(@$kind $text, $unit, $doc);)*)*
        }

        /// Every metric, for docs/metrics.md: group, constant, kind, name, unit, labels, meaning.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str, &str, &str, &str, &[&str], &str)] =
            &[$($(($group, stringify!($name), stringify!($kind), $text, stringify!($unit), &[$($label),*], $doc),)*)*];
    };
    (@counter $text:literal, $unit:ident, $doc:literal) => { describe_counter!($text, Unit::$unit, $doc) };
    (@gauge $text:literal, $unit:ident, $doc:literal) => { describe_gauge!($text, Unit::$unit, $doc) };
    (@histogram $text:literal, $unit:ident, $doc:literal) => { describe_histogram!($text, Unit::$unit, $doc) };
}

metrics! {
    "Requests" {
        counter REQUESTS "towpath_relay_requests_total" Count ["service" "call" "code"] "Answered requests. `code` is `ok`, or the code of the problem.";
        histogram REQUEST_SECONDS "towpath_relay_request_duration_seconds" Seconds ["service" "call"] "Time from the head of a request to its answer. Waiting queries count under the call `queries_waiting`.";
        gauge REQUESTS_IN_FLIGHT "towpath_relay_requests_in_flight" Count ["service"] "Requests in flight.";
        gauge QUERIES_WAITING "towpath_relay_queries_waiting" Count ["service"] "Queries that wait for a row.";
        gauge CONNECTIONS "towpath_relay_connections" Count [] "Open connections of components.";
        counter PANICS "towpath_relay_panics_total" Count [] "Requests that ended in a panic of the relay.";
    }
    "Health" {
        gauge DEPENDENCY_UP "towpath_relay_dependency_up" Count ["dependency"] "1 while what the relay needs works, as `/readyz` names it (`postgres.SERVICE`, `replica.SERVICE`, `component.SERVICE`, `kafka`, `topic.TOPIC`), else 0.";
        counter DEPENDENCY_FAILURES "towpath_relay_dependency_failures_total" Count ["dependency"] "Looks at a dependency that found that it doesn't work: about one a second while it doesn't.";
    }
    "Units of work and PostgreSQL" {
        counter DUPLICATES "towpath_relay_duplicates_total" Count ["service" "found_by"] "Duplicates: units of work that changed nothing, since the same one had committed before. `found_by` is `inbox` (the id of a handled event) or `idempotency_key`.";
        counter UNITS_REPEATED "towpath_relay_units_repeated_total" Count ["service" "reason"] "Retries of units of work. `reason` is `contention`, `locked` (half of the pool waits for locks already: it waited for its turn without a connection), `lost` (the connection, or the server is no longer the primary) or `stale` (the schema changed under a prepared statement, which is prepared again).";
        counter COMMITS_IN_DOUBT "towpath_relay_commits_in_doubt_total" Count ["service" "outcome"] "COMMITs whose answer was lost. `outcome` is what the relay found out: `committed`, `aborted` or `unknown`.";
        counter CONNECTIONS_DISCARDED "towpath_relay_connections_discarded_total" Count [] "Connections to PostgreSQL that the relay closed because a transaction might still be open on them, or an answer was outstanding.";
        gauge POOL_CONNECTIONS "towpath_relay_pool_connections" Count ["service" "pool" "state"] "Connections to PostgreSQL. `pool` is `app`, `relay` or `replica`, `state` is `idle` or `busy`.";
        gauge POOL_WAITING "towpath_relay_pool_waiting" Count ["service" "pool"] "Requests and background tasks that wait for a connection to PostgreSQL.";
        counter RETENTION_ROWS "towpath_relay_retention_deleted_rows_total" Count ["service"] "Rows that were deleted because their retention was over: published events, ids of handled events, stored answers.";
    }
    "Redis" {
        gauge REDIS_UP "towpath_relay_redis_up" Count [] "1 while the relay is connected to Redis, else 0.";
        counter REDIS_FAILURES "towpath_relay_redis_failures_total" Count ["reason"] "Calls to Redis that failed. `reason` is `away`, `slow` or `refused`.";
        counter CACHE_LOOKUPS "towpath_relay_cache_lookups_total" Count ["service" "kind" "result"] "Look-ups in the cache. `kind` is `key` or `query`, `result` is `hit`, `miss` or `off` (Redis is away, or a unit of work is about to make the value old).";
        counter CACHE_INVALIDATIONS_LATE "towpath_relay_cache_invalidations_late_total" Count ["service"] "Cache tags that could not be invalidated at once because Redis was away.";
        counter RATE_LIMITED "towpath_relay_rate_limit_decisions_total" Count ["service" "result"] "Decisions on rate limits. `result` is `allowed` or `denied`.";
        counter WAKEUPS "towpath_relay_wakeups_total" Count ["way"] "Wake-up keys. `way` is `sent` (to other relays), `heard` (from them) or `dropped` (too many waited for Redis).";
    }
    "Outbox" {
        gauge OUTBOX_SHARDS "towpath_relay_outbox_shards" Count ["service"] "Shards of the outbox that this relay publishes.";
        gauge OUTBOX_WAITING "towpath_relay_outbox_waiting" Count ["service"] "Events that wait to be published, counted up to 10,000. Every relay that publishes the service's outbox reports the same.";
        gauge OUTBOX_OLDEST_SECONDS "towpath_relay_outbox_oldest_seconds" Seconds ["service"] "Age of the oldest event that waits to be published. Every relay that publishes the service's outbox reports the same.";
        gauge OUTBOX_HELD_KEYS "towpath_relay_outbox_held_keys" Count ["service"] "Keys that wait because Kafka refuses their next event, counted up to 10,000. Every relay that publishes the service's outbox reports the same.";
        counter OUTBOX_PUBLISHED "towpath_relay_outbox_published_total" Count ["service"] "Events that were published.";
        counter OUTBOX_BATCHES "towpath_relay_outbox_batches_total" Count ["service"] "Batches of events that were published, each in one transaction of Kafka.";
        histogram OUTBOX_PUBLISH_SECONDS "towpath_relay_outbox_publish_duration_seconds" Seconds ["service"] "Time from the beginning of a unit of work to its event in Kafka.";
        counter OUTBOX_FAILURES "towpath_relay_outbox_failures_total" Count ["service" "reason"] "Failures of the publisher. `reason` is `unavailable` (Kafka or PostgreSQL), `refused` (Kafka refuses an event) or `lost` (the publisher starts over).";
        counter OUTBOX_TAKEOVERS "towpath_relay_outbox_takeovers_total" Count ["service"] "Dead publishers from which this relay took over.";
    }
    "Deliveries and timers" {
        counter DELIVERIES "towpath_relay_deliveries_total" Count ["service" "result"] "Deliveries, by how they ended. `result` is `accepted`, `held_back` (the relay retries), `misconfigured` (the component takes no delivery: token, route or proxy; the relay retries), `dead_letter` or `skipped` (no subscription wants the type).";
        histogram DELIVERY_SECONDS "towpath_relay_delivery_duration_seconds" Seconds ["service"] "Duration of one call of the component for a delivery.";
        histogram DELIVERY_LAG_SECONDS "towpath_relay_delivery_lag_seconds" Seconds ["service"] "Time from an event's timestamp in Kafka to its acceptance.";
        gauge DELIVERY_BUFFER "towpath_relay_delivery_buffer" Count ["service"] "Events that are fetched and not done.";
        gauge LANES_HELD_BACK "towpath_relay_lanes_held_back" Count ["service"] "Lanes that wait before a retry.";
        gauge PARTITIONS "towpath_relay_partitions" Count ["service"] "Partitions that are assigned to this relay.";
        counter REBALANCES "towpath_relay_rebalances_total" Count ["service"] "Rebalances that assigned partitions to this relay.";
        counter DEAD_LETTERS "towpath_relay_dead_letters_total" Count ["service" "reason"] "Events that became dead letters. `reason` is `refused`, `failed`, `malformed`, `too_large`, `deleted` or `unreadable`.";
        gauge DEAD_LETTERS_OPEN "towpath_relay_dead_letters_open" Count ["service"] "Dead letters that nobody has replayed or dropped.";
        counter REPLACED "towpath_relay_replaced_total" Count ["service" "part"] "Parts that stood still, ended or panicked, and were replaced. `part` is `outbox`, `consumer`, `lane` (one key's deliveries), `letters` (what writes dead letters) or `timer`. Parts that serve all services have no `service`: `redis`, `wake-ups in`, `wake-ups out`, `cache`, `topics`, `dead letters` (what counts them), `dead-letters` (the client that writes them), `listener`, `metrics`.";
        counter TIMER_CALLS "towpath_relay_timer_calls_total" Count ["service" "timer" "result"] "Calls of the component for a timer. `result` is `accepted` or `failed`.";
    }
}

/// Buckets of durations, in seconds: a unit of work takes a millisecond or two, a delivery may take half a minute.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0,
    32.0,
];

/// How often histograms are drained: a relay that nobody scrapes would keep every sample.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to record. Once per process; later calls answer the same handle. `None` if another recorder is installed.
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

/// Drains histograms until dropped.
pub(crate) async fn upkeep(turns: Turns) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        turns.turn();
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}
