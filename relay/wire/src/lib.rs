//! The types of the relay's interface, version 1: what a component sends to the relay and what it gets back.
//!
//! They are shared by the relay and the SDK, so that neither can drift from the other, and they hold no I/O: the same
//! code runs natively and as WebAssembly. All of it is JSON in snake_case; durations are integers of milliseconds and
//! say so in their names; unknown fields are refused, because a misspelt `expct` that is silently ignored would turn a
//! guarded step into an unguarded one.
//!
//! # Values
//!
//! SQL parameters and results are lossless. The relay knows the type of each parameter from the prepared statement, so
//! a plain JSON value is enough:
//!
//! | PostgreSQL | parameter | result |
//! |---|---|---|
//! | `bool` | `true` | `true` |
//! | `int2`, `int4` | `7` or `"7"` | `7` |
//! | `int8`, `numeric` | `7`, `"7"`, `"7.10"` | `"7"`, `"7.10"`: a string, as in [ProtoJSON], since a JSON number passes through a float in many languages |
//! | `float4`, `float8` | `1.5`, `"NaN"` | `1.5`, `"NaN"`, `"Infinity"` |
//! | `text`, `varchar`, `char`, `name`, enums | `"a"` | `"a"` |
//! | `uuid` | `"0190…"` | the same, lower case with hyphens |
//! | `timestamptz` | RFC 3339 | RFC 3339 in UTC, microseconds where there are any |
//! | `timestamp`, `date`, `time` | ISO 8601 without offset | the same |
//! | `json`, `jsonb` | any JSON value | that value |
//! | `bytea` | base64 (RFC 4648, padded) | the same |
//! | an array of these | a JSON array | a JSON array |
//!
//! `null` is SQL's NULL, also for `jsonb`.
//!
//! [ProtoJSON]: https://protobuf.dev/programming-guides/json/

mod cache;
mod event;
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
