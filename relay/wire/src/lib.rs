#![doc = include_str!("../README.md")]

mod cache;
mod event;
mod number;
mod object;
mod problem;
mod query;
mod rate_limit;
mod transaction;

pub use cache::{CacheEntry, CachePut};
pub use event::{Event, headers};
pub use problem::{Code, Fault, Problem, StepRef};
pub use query::{Consistency, QueryCache, QueryRequest, QueryResponse, Wait};
pub use rate_limit::{RateLimitAnswer, RateLimitRequest};
pub use transaction::{
    Expect, Idempotency, Isolation, Outcome, Step, StepResult, TransactionRequest, TransactionResponse,
};
