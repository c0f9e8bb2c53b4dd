//! The rate limit. It protects the services, and must not become what they die of: where the relay or Redis can't
//! answer at once, requests pass.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use towpath_sdk::{Context, Problem, Request, wire::RateLimitRequest};

use crate::domain::{client, rate_limited};

/// How long a request waits for the limit's answer.
const LIMIT_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the limit isn't asked after it failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// When it may be asked again, in milliseconds since 1970: of this instance, for all its requests.
static ASK_AGAIN_AT_MS: AtomicU64 = AtomicU64::new(0);

/// Counts the request.
///
/// # Errors
/// 429 `rate_limited`.
pub(crate) async fn check(context: &Context, request: &Request) -> Result<(), Problem> {
    let rate = context.variable("rate_limit").await?;
    let rate: u32 = rate.parse().map_err(|_| Problem::internal(format!("the variable rate_limit: {rate:?}")))?;
    if rate == 0 || now_ms() < ASK_AGAIN_AT_MS.load(Ordering::Relaxed) {
        return Ok(());
    }
    let relay = context.relay().await?.with_budget(context.budget.at_most(LIMIT_TIMEOUT));
    let bucket = RateLimitRequest { rate, period_ms: 1000, burst: rate, cost: 1 };
    match relay.take(&client(request), bucket).await {
        Ok(answer) if !answer.allowed => Err(rate_limited(answer.retry_after_ms)),
        Ok(_) => Ok(()),
        Err(_) => {
            ASK_AGAIN_AT_MS.store(now_ms() + PAUSE_AFTER_FAILURE.as_millis() as u64, Ordering::Relaxed);
            Ok(())
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
