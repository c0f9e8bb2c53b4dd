//! The rate limit. It must not add failures of its own: while the relay or Redis does not answer in time, each instance counts
//! for itself.

mod leases;
mod local;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use towpath_sdk::{
    Context, Problem, Relay, RelayError, Request,
    wire::{RateLimitAnswer, RateLimitRequest},
};

use crate::domain::{client, rate_limited};
use leases::Leases;
use local::Buckets;

/// The most clients that an instance keeps in mind. It asks the relay for each request of others, and while the relay does not answer
/// they pass.
const MAX_CLIENTS: usize = 1_000;
/// How long a request waits for the relay's answer about the limit.
const LIMIT_TIMEOUT: Duration = Duration::from_millis(100);
/// How long this instance counts for itself, without a call to the relay, after some failed.
const PAUSE_AFTER_FAILURES: Duration = Duration::from_secs(1);
/// As many calls in a row must fail for that.
const MIN_FAILURES: u32 = 3;
/// The calls that failed since the last one that did not.
static FAILURES: AtomicU32 = AtomicU32::new(0);
/// When this instance may call the relay again, in milliseconds since 1970.
static ASK_AGAIN_AT_MS: AtomicU64 = AtomicU64::new(0);
/// What this instance counts for itself.
static LOCAL: Mutex<Buckets> = Mutex::new(Buckets::new());
/// What this instance has taken ahead.
static LEASES: Mutex<Leases> = Mutex::new(Leases::new());

/// Counts the request against the limit of its client.
///
/// # Errors
/// 429 `rate_limited`.
pub(crate) async fn check(context: &Context, request: &Request) -> Result<(), Problem> {
    let rate = context.variable("rate_limit").await?;
    let rate: u32 = rate.parse().map_err(|_| Problem::misconfigured(format!("the variable rate_limit: {rate:?}")))?;
    let client = client(request);
    if rate == 0 {
        return Ok(());
    }
    if leases().spend(&client, Instant::now()) {
        return Ok(());
    }
    if is_paused(now_ms(), ASK_AGAIN_AT_MS.load(Ordering::Relaxed)) {
        return count_here(&client, rate);
    }
    let relay = context.relay().await?.with_budget(context.budget.at_most(LIMIT_TIMEOUT));
    match take(&relay, &client, rate).await {
        Ok(answer) => {
            FAILURES.store(0, Ordering::Relaxed);
            if answer.allowed { Ok(()) } else { Err(rate_limited(answer.retry_after_ms)) }
        }
        Err(_) => {
            if FAILURES.fetch_add(1, Ordering::Relaxed) + 1 >= MIN_FAILURES {
                FAILURES.store(0, Ordering::Relaxed);
                ASK_AGAIN_AT_MS.store(now_ms() + PAUSE_AFTER_FAILURES.as_millis() as u64, Ordering::Relaxed);
            }
            count_here(&client, rate)
        }
    }
}

/// Takes tokens of the client's bucket: one for this request, and what follows is spent without a call.
async fn take(relay: &Relay, client: &str, rate: u32) -> Result<RateLimitAnswer, RelayError> {
    let tokens = leases().next(client, rate, Instant::now());
    let bucket = |cost| RateLimitRequest { rate, period_ms: 1000, burst: rate, cost };
    let answer = relay.take(client, bucket(tokens)).await?;
    if answer.allowed {
        leases().took(client, tokens, Instant::now());
        return Ok(answer);
    }
    // The bucket may hold one, and not all of them.
    if tokens > 1 { relay.take(client, bucket(1)).await } else { Ok(answer) }
}

fn leases() -> MutexGuard<'static, Leases> {
    LEASES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count_here(client: &str, rate: u32) -> Result<(), Problem> {
    let taken = LOCAL.lock().unwrap_or_else(PoisonError::into_inner).take(client, rate, Instant::now());
    taken.map_err(|wait| rate_limited(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
}

/// Whether this instance counts for itself. A pause that would last longer than any was begun while the clock was ahead.
fn is_paused(now_ms: u64, until_ms: u64) -> bool {
    (1..=PAUSE_AFTER_FAILURES.as_millis()).contains(&u128::from(until_ms.saturating_sub(now_ms)))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_whatever_the_clock_does() {
        let cases = [(10_000, 0, false), (10_000, 10_600, true), (10_600, 10_600, false), (10_000, 7_210_000, false)];
        for (now, until, paused) in cases {
            assert_eq!(is_paused(now, until), paused, "{now} {until}");
        }
    }
}
