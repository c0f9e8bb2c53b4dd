//! The relay's frame: its interface, cache, rate limits, wake-ups, health, and stop.

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod health;
mod interface;
mod limits;
mod openapi;
mod process;
mod rate_limit;
mod redis_away;
mod redis_server;
mod stop;
mod wakeup;
