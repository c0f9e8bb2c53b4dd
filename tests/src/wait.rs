//! Waiting for a condition.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take in a stack where nothing is broken. Orders finish in milliseconds; the rest is room
/// for a machine with two cores that runs all tests at once.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The first pause between two looks. Each is longer than the one before: most conditions come true at once, and two
/// hundred tasks that wait for something slow must not be the load that slows it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Looks until `look` gives a value, and returns it. What `look` gives instead says what it saw; the last of these is
/// in the message of the panic when the deadline passes.
///
/// # Panics
/// When the deadline passes.
pub async fn eventually<T, E, F, L>(what: &str, deadline: Duration, mut look: L) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
    L: FnMut() -> F,
{
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if begun.elapsed() >= deadline => {
                panic!("{what}: not within {} s; last seen: {seen}", deadline.as_secs())
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(MAX_PAUSE);
    }
}
