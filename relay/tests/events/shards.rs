//! Several relays share the shards of an outbox.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use towpath_fault_proxy::{Proxy, Tcp};

use crate::kafka::{key_and_number, records, records_now};
use crate::support::{Servers, ServiceSetup, Setup, eventually};
use crate::{TOPIC, assert_same, by_key, event, in_order, publishing, say, say_numbers, say_numbers_as};

const KEYS: usize = 24;
/// Nothing takes half as long but waiting for it to end.
const LONG_LEASE: Duration = Duration::from_secs(60);

/// How many shards each publisher holds.
async fn holders(setup: &Setup) -> BTreeMap<Option<String>, i64> {
    let sql = "SELECT holder, count(*) FROM towpath.shard_lease GROUP BY holder";
    let rows = setup.admin("alpha").await.query(sql, &[]).await.expect("the leases");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits until as many publishers hold this many shards each.
pub(crate) async fn shared(setup: &Setup, each: &[i64]) {
    eventually("the shards are shared", async || {
        let holders = holders(setup).await;
        let mut counts: Vec<i64> = holders.values().copied().collect();
        counts.sort_unstable();
        if !holders.contains_key(&None) && counts == each { Ok(()) } else { Err(holders) }
    })
    .await;
}

async fn published(setup: &Setup, count: usize) -> BTreeMap<String, Vec<usize>> {
    records(&setup.servers.kafka, &setup.topic(TOPIC), count).await;
    let seen = records_now(&setup.servers.kafka, &setup.topic(TOPIC)).await;
    by_key(seen.iter().map(key_and_number))
}

#[tokio::test]
async fn two_relays_share_and_a_dead_ones_shards_are_taken_over_within_two_lease_times() {
    const LEASE: Duration = Duration::from_secs(6);
    let setup = publishing(&format!("lease_ms = {}", LEASE.as_millis())).await;
    let first = setup.start().await;
    shared(&setup, &[16]).await;
    let second = setup.start().await;
    shared(&setup, &[8, 8]).await;
    tokio::join!(say_numbers(&setup, &first, KEYS, 0, 10), async {
        records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * 3).await;
        second.crash();
    });
    let died = Instant::now();
    say_numbers(&setup, &first, KEYS, 10, 10).await;
    let seen = published(&setup, KEYS * 20).await;
    assert!(died.elapsed() < LEASE * 2, "it took {:?}", died.elapsed());
    assert_same(&seen, &in_order(KEYS, 20));
    shared(&setup, &[16]).await;
}

/// Both have expired when the database is there again, and each is the first to see the other so.
#[tokio::test]
async fn relays_that_come_out_of_a_long_outage_retire_nobody() {
    const NAME: &str = "outlasting";
    const LEASE: Duration = Duration::from_secs(2);
    let server = Servers::from_env().postgres;
    let address = reqwest::Url::parse(&server).expect("a URL").socket_addrs(|| Some(5432)).expect("an address")[0];
    let proxy = Proxy::<Tcp>::before(&address.to_string()).await.expect("a port");
    let service = ServiceSetup::new(NAME).database().publishes(TOPIC);
    let setup =
        Setup::new().service(service).declare(TOPIC).toml(&format!("[limits]\nlease_ms = {}", LEASE.as_millis()));
    let setup = setup.databases().await;
    let behind = |instance: &str| {
        let mut config = setup.config(instance);
        let postgres = config.services.get_mut(NAME).and_then(|service| service.postgres.as_mut()).expect("a database");
        for url in [&mut postgres.url, &mut postgres.relay_url] {
            *url = proxy.instead_of(url.expose()).parse().expect("a URL");
        }
        config
    };
    // A publisher that begins anew has another number behind the name of its relay.
    let sql = "SELECT regexp_replace(holder, '[.][^.]*$', ''), count(*) FROM towpath.shard_lease GROUP BY 1";
    let admin = setup.admin(NAME).await;
    let holders = async || -> BTreeMap<Option<String>, i64> {
        let rows = admin.query(sql, &[]).await.expect("the leases");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let (first, second) = (setup.start_with(behind("first")).await, setup.start_with(behind("second")).await);
    let before = eventually("they share", async || {
        let holders = holders().await;
        let share = !holders.contains_key(&None) && holders.values().all(|shards| *shards == 8);
        if share { Ok(holders) } else { Err(holders) }
    })
    .await;
    for time in 1..=3 {
        proxy.shut();
        let expired = "SELECT bool_and(expires_at < clock_timestamp()) FROM towpath.publisher";
        eventually("both have expired", async || {
            let expired: bool = admin.query_one(expired, &[]).await.expect("the publishers").get(0);
            if expired { Ok(()) } else { Err(()) }
        })
        .await;
        proxy.open();
        let relay = if time % 2 == 0 { &first } else { &second };
        eventually("the relay reaches its database", async || {
            let said = relay.transaction(NAME, json!({"steps": [{"sql": "SELECT 1"}]})).await;
            if said.status == 200 { Ok(()) } else { Err(said) }
        })
        .await;
        say_numbers_as(NAME, &setup, relay, KEYS, time - 1, 1).await;
        records(&setup.servers.kafka, &setup.topic(TOPIC), KEYS * time).await;
        eventually("each has what it had", async || {
            let holders = holders().await;
            if holders == before { Ok(()) } else { Err(holders) }
        })
        .await;
    }
    let taken = first.metric(&format!("towpath_relay_outbox_takeovers_total{{service=\"{NAME}\"}}")).await;
    assert!(taken == 0.0, "{taken} takeovers");
    assert_same(&published(&setup, KEYS * 3).await, &in_order(KEYS, 3));
}

#[tokio::test]
async fn a_relay_that_stops_gives_its_shards_up_at_once() {
    let setup = publishing(&format!("lease_ms = {}", LONG_LEASE.as_millis())).await;
    let first = setup.start().await;
    let second = setup.start().await;
    shared(&setup, &[8, 8]).await;
    say_numbers(&setup, &first, KEYS, 0, 5).await;
    let began = Instant::now();
    assert!(first.stop().await);
    shared(&setup, &[16]).await;
    assert!(began.elapsed() < LONG_LEASE / 2, "it took {:?}", began.elapsed());
    say_numbers(&setup, &second, KEYS, 5, 5).await;
    assert_same(&published(&setup, KEYS * 10).await, &in_order(KEYS, 10));
}

#[tokio::test]
async fn a_relay_that_begins_again_under_its_name_waits_for_no_lease() {
    let setup = publishing(&format!("lease_ms = {}", LONG_LEASE.as_millis())).await;
    let first = setup.start_with(setup.config("the-same")).await;
    shared(&setup, &[16]).await;
    say_numbers(&setup, &first, KEYS, 0, 3).await;
    first.crash();
    let began = Instant::now();
    let second = setup.start_with(setup.config("the-same")).await;
    say_numbers(&setup, &second, KEYS, 3, 3).await;
    assert_same(&published(&setup, KEYS * 6).await, &in_order(KEYS, 6));
    assert!(began.elapsed() < LONG_LEASE / 2, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_relay_that_commits_into_a_shard_that_it_does_not_hold_wakes_the_holder() {
    let setup = publishing("outbox_sweep_ms = 600000").await;
    let first = setup.start().await;
    let second = setup.start().await;
    shared(&setup, &[8, 8]).await;
    eventually("the relays hear each other", async || {
        let up = [&first, &second].map(|relay| relay.running.relay.redis.is_up());
        if up == [true, true] { Ok(()) } else { Err(up) }
    })
    .await;
    // With 24 keys in 16 shards each relay holds some of both units of work.
    for (n, relay) in [&first, &second].into_iter().enumerate() {
        let events: Vec<_> = (0..KEYS).map(|key| event(&setup, &format!("key-{key}"), n)).collect();
        say(relay, &events).await;
    }
    assert_same(&published(&setup, KEYS * 2).await, &in_order(KEYS, 2));
}

#[tokio::test]
async fn relays_that_come_and_go_break_no_order() {
    let setup = publishing("lease_ms = 1000").await;
    let first = setup.start().await;
    let speaking = say_numbers(&setup, &first, KEYS, 0, 60);
    let moving = async {
        for round in 0..3 {
            let other = setup.start().await;
            shared(&setup, &[8, 8]).await;
            if round % 2 == 0 {
                assert!(other.stop().await);
            } else {
                other.crash();
            }
            shared(&setup, &[16]).await;
        }
    };
    tokio::join!(speaking, moving);
    assert_same(&published(&setup, KEYS * 60).await, &in_order(KEYS, 60));
}
