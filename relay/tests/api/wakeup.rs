//! Wake-ups, within one relay and between two.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use towpath_relay::redis::{Space, Waiter};

use crate::support::{ServiceSetup, Setup, TestRelay, eventually};

async fn relays() -> (Setup, TestRelay, TestRelay) {
    let setup = Setup::new().service(ServiceSetup::new("alpha")).service(ServiceSetup::new("beta"));
    let (one, other) = (setup.start().await, setup.start().await);
    (setup, one, other)
}

fn register(relay: &TestRelay, space: Space, service: &str, key: &str) -> Waiter {
    relay.running.relay.wakeups.register(space, service, &[key])
}

fn notify(relay: &TestRelay, space: Space, service: &str, key: &str) {
    relay.running.relay.wakeups.notify(space, &Arc::from(service), &[key]);
}

/// Nobody says when the subscription stands, so the first wake-up may need several tries.
async fn wakes_across(waiter: &Waiter, from: &TestRelay, space: Space, service: &str, key: &str) {
    eventually("the other relay's waiter wakes", async || {
        notify(from, space, service, key);
        timeout(Duration::from_millis(100), waiter.woken()).await
    })
    .await;
}

fn sleeps(waiter: &Waiter) -> bool {
    futures::FutureExt::now_or_never(waiter.woken()).is_none()
}

#[tokio::test]
async fn a_wake_up_before_the_wait_is_kept() {
    let setup = Setup::new().service(ServiceSetup::new("alpha"));
    let relay = setup.start().await;
    let waiter = relay.running.relay.wakeups.register(Space::Service, "alpha", &["a", "b"]);
    assert!(relay.running.relay.wakeups.is_awaited(Space::Service, "alpha", "a"));
    notify(&relay, Space::Service, "alpha", "b");
    notify(&relay, Space::Service, "alpha", "a");
    assert!(!sleeps(&waiter), "it was woken after it registered");
    assert!(sleeps(&waiter), "wake-ups that come together are one");
    drop(waiter);
    assert!(!relay.running.relay.wakeups.is_awaited(Space::Service, "alpha", "a"), "who is gone is forgotten");
    relay.stop().await;
}

#[tokio::test]
async fn a_wake_up_reaches_the_other_relay() {
    let (_setup, one, other) = relays().await;
    for space in [Space::Service, Space::Relay] {
        let waiter = register(&other, space, "alpha", "k");
        wakes_across(&waiter, &one, space, "alpha", "k").await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn keys_are_the_services_own() {
    let (_setup, one, other) = relays().await;
    let meant = register(&other, Space::Service, "alpha", "k");
    wakes_across(&meant, &one, Space::Service, "alpha", "k").await;
    let strangers = [
        register(&other, Space::Service, "beta", "k"),
        register(&other, Space::Service, "alpha", "l"),
        register(&other, Space::Relay, "alpha", "k"),
        register(&one, Space::Service, "beta", "k"),
    ];
    // A subscription that begins, or begins again, wakes everybody once: the relays' own may do so at any time.
    eventually("a wake-up leaves other keys asleep", async || {
        for stranger in &strangers {
            let _ = sleeps(stranger);
        }
        wakes_across(&meant, &one, Space::Service, "alpha", "k").await;
        strangers.iter().all(sleeps).then_some(()).ok_or("a stranger woke")
    })
    .await;
    one.stop().await;
    other.stop().await;
}
