//! Every metric of the relay: its name, its unit, what it says. Served in Prometheus' format at `/metrics`.
//!
//! Labels are few and bounded: names from relay.toml, routes, codes. Never a key, an id or a text of a caller.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

macro_rules! metrics {
    ($($kind:ident $name:ident $text:literal $unit:ident $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: &str = $text;)*

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
    gauge POOL_CONNECTIONS "towpath_relay_pool_connections" Count "Connections to PostgreSQL, by service, pool and state (`idle`, `busy`).";
    gauge POOL_WAITING "towpath_relay_pool_waiting" Count "Who waits for a connection, by service and pool.";

    // Redis
    gauge REDIS_UP "towpath_relay_redis_up" Count "1 while the connection to Redis stands.";
    counter REDIS_FAILURES "towpath_relay_redis_failures_total" Count "Calls to Redis that failed, by reason (`away`, `slow`, `refused`).";
    counter CACHE_LOOKUPS "towpath_relay_cache_lookups_total" Count "Look-ups in the cache, by service, kind (`key`, `query`) and result (`hit`, `miss`, `off`).";
    counter CACHE_INVALIDATIONS_LATE "towpath_relay_cache_invalidations_late_total" Count "Tags that could not be invalidated at once, as Redis was away, by service.";
    counter RATE_LIMITED "towpath_relay_rate_limit_decisions_total" Count "Decisions on rate limits, by service and result (`allowed`, `denied`).";
    counter WAKEUPS "towpath_relay_wakeups_total" Count "Wake-ups by way (`here`, `sent`, `heard`, `dropped`).";
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
pub fn recorder() -> Option<&'static PrometheusHandle> {
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
pub async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}
