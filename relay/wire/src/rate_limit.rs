//! `POST /v1/rate-limits/{key}`: takes from a bucket, by the generic cell rate algorithm (GCRA).

use serde::{Deserialize, Serialize};

/// The shape of the bucket, and how much to take from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitRequest {
    /// How many tokens flow in per period; at least 1.
    pub rate: u32,
    /// The period in milliseconds; at least 1.
    pub period_ms: u64,
    /// How many tokens the bucket holds; at least 1.
    pub burst: u32,
    /// How many to take: 1 unless told otherwise. 0 only looks.
    #[serde(default = "one")]
    pub cost: u32,
}

fn one() -> u32 {
    1
}

/// Whether the tokens were there. The call itself answers 200 in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimitAnswer {
    /// Whether they were taken.
    pub allowed: bool,
    /// The size of the bucket.
    pub limit: u32,
    /// How many could be taken now.
    pub remaining: u32,
    /// Milliseconds until the bucket is full again.
    pub reset_after_ms: u64,
    /// Milliseconds until `cost` tokens will be there; 0 where `allowed`.
    pub retry_after_ms: u64,
}
