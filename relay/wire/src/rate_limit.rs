//! `POST /v1/rate-limits/{key}`: takes from a bucket, by the generic cell rate algorithm (GCRA).

use serde::{Deserialize, Serialize};

use crate::number;

/// The shape of the bucket, and how much to take from it.
///
/// ```
/// use towpath_wire::RateLimitRequest;
///
/// // Ten a second, twenty at once.
/// let request: RateLimitRequest = serde_json::from_str(r#"{"rate": 10, "period_ms": 1000, "burst": 20}"#)?;
/// assert_eq!(request.cost, 1);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitRequest {
    /// How many tokens flow in per period; at least 1.
    #[serde(deserialize_with = "number::u32")]
    pub rate: u32,
    /// The period in milliseconds; at least 1.
    #[serde(deserialize_with = "number::u64")]
    pub period_ms: u64,
    /// How many tokens the bucket holds; at least 1.
    #[serde(deserialize_with = "number::u32")]
    pub burst: u32,
    /// How many tokens to take; 1 by default. 0 takes none and only answers how many there are.
    #[serde(default = "one", deserialize_with = "number::u32")]
    pub cost: u32,
}

fn one() -> u32 {
    1
}

/// Whether the bucket held the tokens. The relay answers 200 in both cases.
///
/// ```
/// use towpath_wire::RateLimitAnswer;
///
/// let answer = RateLimitAnswer { allowed: false, limit: 20, remaining: 0, reset_after_ms: 2_000, retry_after_ms: 100 };
/// let seconds = answer.retry_after_ms.div_ceil(1000);
/// assert_eq!(seconds, 1, "what a `Retry-After` header says");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimitAnswer {
    /// Whether the tokens were taken.
    pub allowed: bool,
    /// The size of the bucket.
    pub limit: u32,
    /// How many tokens are left.
    pub remaining: u32,
    /// Milliseconds until the bucket is full again.
    pub reset_after_ms: u64,
    /// Milliseconds until `cost` tokens will be there; 0 where `allowed`.
    pub retry_after_ms: u64,
}
