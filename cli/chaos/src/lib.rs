#![doc = include_str!("../README.md")]

mod command;
mod evidence;
mod fault;
mod faults;
mod group;
mod judge;
mod lines;
mod load;
mod machine;
mod quiet;
mod record;
mod replay;
mod report;
mod run;
mod schedule;
mod service;
mod stage;
mod strangers;
mod strikes;

pub use command::{Args, command};
