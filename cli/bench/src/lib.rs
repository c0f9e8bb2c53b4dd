#![doc = include_str!("../README.md")]

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
