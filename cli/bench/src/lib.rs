#![doc = include_str!("../README.md")]

mod command;
mod compare;
mod cost;
mod events;
mod figure;
mod growth;
mod hops;
mod idle;
mod latency;
mod life;
mod line;
mod load;
mod memory;
mod number;
mod orders;
mod overload;
mod pgbench;
mod plan;
mod producer;
mod reads;
mod report;
mod target;
mod units;

pub use command::{Args, command};
