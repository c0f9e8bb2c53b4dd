//! The relay's frame: its interface, cache, rate limits, wake-ups, configuration and stop.

#[path = "../support/mod.rs"]
mod support;
