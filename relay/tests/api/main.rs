//! The interface, the cache, rate limits, wake-ups, health, the process and its stop.

#![allow(clippy::unwrap_used, reason = "a test that can't go on shall say where")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod cache;
mod health;
mod interface;
mod limits;
mod misconfigured;
mod openapi;
mod process;
mod rate_limit;
mod redis_away;
mod redis_failover;
mod redis_server;
mod stop;
mod tokens;
mod units;
mod wakeup;
