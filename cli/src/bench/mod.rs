//! `towpath bench`: how much a stack does in a second, beside what does the same work without it.
//!
//! Absolute figures say more about a machine than about Towpath. So each is taken in one run with something that
//! anybody can run beside it, one after the other on the same servers: units of work with pgbench and the same
//! statements, a hop through the host with a bare hyper server, the outbox with Kafka's own producer benchmark. No goal
//! is asserted.

mod command;
mod hops;
mod latency;
mod line;
mod load;
mod memory;
mod orders;
mod pgbench;
mod producer;
mod report;
mod target;
mod units;

pub use command::{Args, command};
