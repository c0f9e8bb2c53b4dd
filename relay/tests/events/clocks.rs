//! The database's clock leaps, in either direction: nothing waits for it, and nobody believes to hold what another holds.
//!
//! No test may set the clock of a server that others use. But the relay's statements name `clock_timestamp()` and `now()` without
//! a schema, so a schema that its role searches first moves the clock for one database alone, while the relay runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use http::StatusCode;

use crate::kafka::records;
use crate::shards::shared;
use crate::subscriber::{Heard, Subscriber};
use crate::support::{ServiceSetup, Setup, eventually};
use crate::{TOPIC, assert_same, by_key, in_order, publishing, say_numbers};

const KEYS: usize = 16;

/// The clock of the database of `alpha`, as the relay's statements see it.
struct Clock {
    admin: tokio_postgres::Client,
}

impl Clock {
    /// Before any relay connects.
    async fn of(setup: &Setup) -> Self {
        let admin = setup.admin("alpha").await;
        let (role, database) = (format!("{}_relay", setup.id), setup.database_name("alpha"));
        let sql = format!(
            "CREATE SCHEMA clock;
             CREATE TABLE clock.leap (ahead interval NOT NULL);
             INSERT INTO clock.leap VALUES ('0');
             CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
                 AS 'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM clock.leap)';
             CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE
                 AS 'SELECT pg_catalog.now() + (SELECT ahead FROM clock.leap)';
             GRANT USAGE ON SCHEMA clock TO PUBLIC;
             GRANT SELECT ON clock.leap TO PUBLIC;
             ALTER ROLE {role} IN DATABASE {database} SET search_path = clock, pg_catalog"
        );
        admin.batch_execute(&sql).await.expect("the clock");
        Self { admin }
    }

    /// Sets it so much ahead of the real one, or behind.
    async fn set(&self, ahead: &str) {
        self.admin.batch_execute(&format!("UPDATE clock.leap SET ahead = '{ahead}'")).await.expect("it is set");
    }
}

async fn ticking(subscriber: &Subscriber, every_ms: u64, lease: Duration) -> Setup {
    let timer =
        format!("[[services.alpha.timers]]\nname = \"tidy-up\"\nevery_ms = {every_ms}\nroute = \"/timers/tidy-up\"");
    let alpha = ServiceSetup::new("alpha").database().component(&subscriber.url).toml(&timer);
    let limits = format!("[limits]\nlease_ms = {}", lease.as_millis());
    Setup::new().service(alpha).toml(&limits).databases().await
}

/// Waits until as many publishers hold leases that end within the lease's time by the real clock or, ahead of it, by this much.
async fn renewed(clock: &Clock, publishers: i64, ahead: &str) {
    eventually("the leases are renewed", async || {
        let sql = format!(
            "SELECT count(*), coalesce(min(expires_at - now())::text, '') FROM towpath.publisher
             WHERE expires_at - now() BETWEEN interval '{ahead}' AND interval '{ahead}' + interval '1 minute'"
        );
        let row = clock.admin.query_one(&sql, &[]).await.expect("the publishers");
        if row.get::<_, i64>(0) == publishers { Ok(()) } else { Err(row.get::<_, String>(1)) }
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_leaps_stops_no_timer() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 200, Duration::from_secs(1)).await;
    let clock = Clock::of(&setup).await;
    let _relays = [setup.start().await, setup.start().await];
    for ahead in ["2 hours", "0", "-2 hours", "5 minutes", "-5 minutes", "0"] {
        clock.set(ahead).await;
        let before = subscriber.calls().len();
        subscriber.hears(before + 3).await;
    }
    assert_eq!(subscriber.overlaps(), 0);
}

#[tokio::test]
async fn a_clock_that_leaps_ahead_takes_no_turn_from_its_holder() {
    const LEASE: Duration = Duration::from_secs(2);
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 200, LEASE).await;
    let clock = Clock::of(&setup).await;
    // A call that takes long: its relay has the turn for as long.
    subscriber.answer(|_: Heard| std::future::pending());
    let _relays = [setup.start().await, setup.start().await, setup.start().await];
    subscriber.hears(1).await;
    // It leaps more often than the holder renews: whenever another relay looks, the lease seems to be over.
    let (began, mut hours) = (Instant::now(), 0);
    eventually("three leases have passed", async || {
        hours += 1;
        clock.set(&format!("{hours} hours")).await;
        assert_eq!(subscriber.calls().len(), 1, "another relay called while one had the turn");
        if began.elapsed() > LEASE * 3 { Ok(()) } else { Err(began.elapsed()) }
    })
    .await;
    assert_eq!(subscriber.overlaps(), 0);
}

#[tokio::test]
async fn a_clock_that_was_ahead_holds_no_turn_of_a_dead_relay() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 200, Duration::from_secs(1)).await;
    let clock = Clock::of(&setup).await;
    // Less than the longest lease that relay.toml may say: by that alone it could be one.
    clock.set("5 minutes").await;
    subscriber.answer(|_: Heard| std::future::pending());
    let first = setup.start().await;
    subscriber.hears(1).await;
    first.crash();
    clock.set("0").await;
    subscriber.answer(|_: Heard| async { StatusCode::OK.into_response() });
    let _second = setup.start().await;
    subscriber.accepts(2).await;
}

#[tokio::test]
async fn a_clock_that_leaps_retires_no_publisher_that_lives() {
    let setup = publishing("lease_ms = 2000").await;
    let clock = Clock::of(&setup).await;
    let relays = [setup.start().await, setup.start().await];
    shared(&setup, &[8, 8]).await;
    let publishers = async || -> BTreeSet<String> {
        let rows = clock.admin.query("SELECT id FROM towpath.publisher", &[]).await.expect("the publishers");
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = publishers().await;
    for (n, ahead) in ["2 hours", "0", "-2 hours", "0"].into_iter().enumerate() {
        clock.set(ahead).await;
        say_numbers(&setup, &relays[n % 2], KEYS, n, 1).await;
        renewed(&clock, 2, ahead).await;
    }
    assert_eq!(publishers().await, before, "nobody was retired");
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * 4).await;
    assert_same(&by_key(seen.iter().map(crate::kafka::key_and_number)), &in_order(KEYS, 4));
}

#[tokio::test]
async fn a_clock_that_was_ahead_holds_no_shards_of_a_dead_publisher() {
    let setup = publishing("lease_ms = 2000").await;
    let clock = Clock::of(&setup).await;
    let (first, second) = (setup.start().await, setup.start().await);
    shared(&setup, &[8, 8]).await;
    clock.set("2 hours").await;
    renewed(&clock, 2, "2 hours").await;
    second.crash();
    clock.set("0").await;
    say_numbers(&setup, &first, KEYS, 0, 3).await;
    shared(&setup, &[16]).await;
    let seen = records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * 3).await;
    assert_same(&by_key(seen.iter().map(crate::kafka::key_and_number)), &in_order(KEYS, 3));
}
