//! Rate limits by the generic cell rate algorithm (GCRA), as one script inside Redis.
//!
//! A bucket is one number: the theoretical arrival time, at which it will be full again. Redis' clock decides, so that relays
//! whose clocks differ agree. The key expires when the bucket is full.

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use metrics::counter;
use towpath_wire::{Code, RateLimitAnswer, RateLimitRequest};

use super::Redis;
use super::connection::Request;
use crate::failure::{Failure, Result};
use crate::telemetry::metrics::RATE_LIMITED;

/// A leap year.
pub(crate) const MAX_PERIOD_MS: u64 = 366 * 86_400_000;
/// Beyond it a token takes less time than a number in the script can tell apart.
const MAX_PER_MILLISECOND: u64 = 10_000;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rate_limit.lua")));

/// Takes from the bucket of a service under this key.
///
/// # Errors
/// `malformed_request` or `contradictory_request` for a bucket that can't be, `unavailable` while Redis is away.
pub(crate) async fn take(
    redis: &Redis,
    service: &Arc<str>,
    key: &str,
    request: RateLimitRequest,
) -> Result<RateLimitAnswer> {
    check(&request)?;
    let key = format!("{}:{service}:r:{key}", redis.prefix());
    let mut script = TAKE.key(key);
    script.arg(request.rate).arg(request.period_ms).arg(request.burst).arg(request.cost);
    let (allowed, remaining, reset_after_ms, retry_after_ms): (bool, u32, u64, u64) =
        redis.call(Request::Script(&script)).await?;
    let result = if allowed { "allowed" } else { "denied" };
    counter!(RATE_LIMITED, "service" => Arc::clone(service), "result" => result).increment(1);
    Ok(RateLimitAnswer { allowed, limit: request.burst, remaining, reset_after_ms, retry_after_ms })
}

fn check(request: &RateLimitRequest) -> Result<()> {
    let RateLimitRequest { rate, period_ms, burst, cost } = *request;
    if rate == 0 || period_ms == 0 || burst == 0 {
        return Err(Failure::malformed("rate, period_ms and burst must be at least 1"));
    }
    if period_ms > MAX_PERIOD_MS {
        return Err(Failure::malformed(format!("period_ms must be {MAX_PERIOD_MS} at most")));
    }
    if u64::from(rate) > period_ms.saturating_mul(MAX_PER_MILLISECOND) {
        let detail = "rate must be 10000 per millisecond of period_ms at most";
        return Err(Failure::new(Code::ContradictoryRequest, detail));
    }
    if cost > burst {
        let detail = "cost is more than burst: so many tokens will never be there";
        return Err(Failure::new(Code::ContradictoryRequest, detail));
    }
    Ok(())
}
