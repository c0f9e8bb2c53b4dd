//! Rules of timers.

use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use jiff::Timestamp;

use crate::subscriber::{Heard, Subscriber};
use crate::support::{ServiceSetup, Setup, eventually};

async fn ticking(subscriber: &Subscriber, every_ms: u64, limits: &str) -> Setup {
    let timer =
        format!("[[services.alpha.timers]]\nname = \"tidy-up\"\nevery_ms = {every_ms}\nroute = \"/timers/tidy-up\"");
    let alpha = ServiceSetup::new("alpha").database().component(&subscriber.url).toml(&timer);
    Setup::new().service(alpha).toml(&format!("[limits]\n{limits}")).databases().await
}

fn due(call: &Heard) -> Timestamp {
    call.header("towpath-timer-due").parse().expect("RFC 3339")
}

#[tokio::test]
async fn a_timer_is_called_on_its_schedule_on_one_relay_at_a_time() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 200, "").await;
    let _relays = [setup.start().await, setup.start().await, setup.start().await];
    let calls = subscriber.hears(12).await;
    assert!(calls.iter().all(|call| call.path == "/timers/tidy-up" && call.header("towpath-timer") == "tidy-up"));
    let token = format!("Bearer {}", setup.delivery_token("alpha"));
    assert!(calls.iter().all(|call| call.header("authorization") == token && call.header("traceparent").len() == 55));
    let times: Vec<i64> = calls.iter().map(|call| due(call).as_millisecond()).collect();
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > 0 && apart % 200 == 0, "each due time is on the schedule, and comes once: {times:?}");
    }
    assert_eq!(subscriber.overlaps(), 0);
}

#[tokio::test]
async fn a_timer_is_called_until_it_is_accepted() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 60_000, "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 4").await;
    let statuses = [503, 500, 404, 429, 302];
    let hearer_calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    subscriber.answer(move |_: Heard| {
        let n = hearer_calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let status = statuses.get(n).map_or(StatusCode::OK, |status| StatusCode::from_u16(*status).unwrap());
        async move { status.into_response() }
    });
    make_due(&setup).await;
    let relay = setup.start().await;
    subscriber.accepts(1).await;
    let calls = subscriber.calls();
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| due(call) == due(&calls[0])));
    eventually("it is due next by its schedule", async || {
        let sql =
            "SELECT holder IS NULL AND next_due > now(), next_due::text FROM towpath.timer WHERE name = 'tidy-up'";
        let row = setup.admin("alpha").await.query_one(sql, &[]).await.expect("the timer");
        if row.get(0) { Ok(()) } else { Err(row.get::<_, String>(1)) }
    })
    .await;
    drop(relay);
}

/// A wrong token or route is told until it is mended.
#[tokio::test]
async fn a_timer_whose_way_is_wrong_is_told_until_it_is_accepted() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 60_000, "delivery_backoff_ms = 1\ndelivery_backoff_max_ms = 20").await;
    subscriber.answer_status(StatusCode::UNAUTHORIZED);
    make_due(&setup).await;
    let relay = setup.start().await;
    eventually("the standstill is told", async || {
        let said = relay.readiness().await;
        let cause = said["standing"]["alpha.timers"]["cause"].as_str().unwrap_or_default();
        if cause.starts_with("401") && said["status"] != "ready" { Ok(()) } else { Err(said) }
    })
    .await;
    subscriber.answer_status(StatusCode::OK);
    eventually("the timer is accepted", async || {
        let said = relay.readiness().await;
        if said["standing"].is_null() && said["status"] == "ready" { Ok(()) } else { Err(said) }
    })
    .await;
}

/// The timer has been due for a while when the relay starts.
async fn make_due(setup: &Setup) {
    let sql = "INSERT INTO towpath.timer (name, next_due) VALUES ('tidy-up', now() - interval '7 minutes')";
    setup.admin("alpha").await.execute(sql, &[]).await.expect("inserts");
}

/// The database's clock was two hours ahead, and has come back: what was written meanwhile would hold the timer for as long.
#[tokio::test]
async fn a_clock_that_was_ahead_delays_no_timer() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 200, "lease_ms = 500").await;
    let sql = "INSERT INTO towpath.timer (name, next_due, holder, expires_at)
        VALUES ('tidy-up', now() + interval '2 hours', 'gone', now() + interval '2 hours')";
    setup.admin("alpha").await.execute(sql, &[]).await.expect("inserts");
    let _relay = setup.start().await;
    let calls = subscriber.hears(3).await;
    assert!(calls.iter().all(|call| due(call) < Timestamp::now() + jiff::Span::new().hours(1)));
}

#[tokio::test]
async fn what_was_missed_is_not_made_up_for() {
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 5_000, "").await;
    make_due(&setup).await;
    let _relay = setup.start().await;
    let calls = subscriber.hears(2).await;
    let apart = due(&calls[1]).as_millisecond() - due(&calls[0]).as_millisecond();
    assert!(apart >= 415_000 && apart % 5_000 == 0, "{apart}");
}

#[tokio::test]
async fn a_dead_relays_turn_is_taken_over_after_its_lease() {
    const LEASE: Duration = Duration::from_secs(4);
    let subscriber = Subscriber::start().await;
    let setup = ticking(&subscriber, 100, &format!("lease_ms = {}", LEASE.as_millis())).await;
    // The first call never ends; its relay dies with it.
    subscriber.answer(|_: Heard| std::future::pending());
    let first = setup.start().await;
    let second = setup.start().await;
    subscriber.hears(1).await;
    let sql = "SELECT holder, fence FROM towpath.timer WHERE name = 'tidy-up'";
    let admin = setup.admin("alpha").await;
    let row = admin.query_one(sql, &[]).await.expect("the timer");
    let (holder, fence): (String, i64) = (row.get(0), row.get(1));
    // As long as it lives it keeps the turn, however long the call takes.
    let began = std::time::Instant::now();
    eventually("two leases have passed", async || {
        assert_eq!(subscriber.calls().len(), 1);
        if began.elapsed() > LEASE * 2 { Ok(()) } else { Err(began.elapsed()) }
    })
    .await;
    subscriber.answer_status(StatusCode::OK);
    let (dead, _alive) =
        if *holder == *first.running.relay.config.relay.instance { (first, second) } else { (second, first) };
    dead.crash();
    let died = std::time::Instant::now();
    subscriber.hears(2).await;
    assert!(died.elapsed() < LEASE * 2, "{:?}", died.elapsed());
    let row = admin.query_one("SELECT fence FROM towpath.timer WHERE name = 'tidy-up'", &[]).await.expect("the timer");
    assert!(row.get::<_, i64>(0) > fence);
}
