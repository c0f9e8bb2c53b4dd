//! `towpath bench`: how much a stack does in a second, beside what does the same work without it.
//!
//! Absolute figures say more about a machine than about Towpath. So each is taken in one run with something that
//! anybody can run beside it, one after the other on the same servers: units of work with pgbench and the same
//! statements, a hop through the host with a bare hyper server, the outbox with Kafka's own producer benchmark. No goal
//! is asserted.
//!
//! Two parts take minutes and run only where they are asked for: what becomes of orders at five times the rate that the
//! stack sustains, and whether the relay's tables stop growing.

mod command;
mod growth;
mod hops;
mod latency;
mod line;
mod load;
mod memory;
mod orders;
mod overload;
mod pgbench;
mod producer;
mod report;
mod target;
mod units;

pub use command::{Args, command};
