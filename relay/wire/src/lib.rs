#![doc = include_str!("../README.md")]

mod cache;
mod event;
mod number;
mod object;
mod plain;
mod problem;
mod query;
mod rate_limit;
mod repeated;
mod transaction;
mod word;

pub use cache::{CacheEntry, CachePut, CachePutOf};
pub use event::{Event, EventOf, headers};
pub use plain::plain;
pub use problem::{Code, Fault, Problem, StepRef};
pub use query::{Consistency, QueryCache, QueryRequest, QueryRequestOf, QueryResponse, Wait};
pub use rate_limit::{RateLimitAnswer, RateLimitRequest};
pub use repeated::repeated_members;
pub use transaction::{
    Expect, Idempotency, IdempotencyOf, Isolation, Outcome, Step, StepOf, StepResult, TransactionRequest,
    TransactionRequestOf, TransactionResponse,
};
