#![doc = include_str!("../README.md")]

mod databases;
mod events;
mod own_stack;
mod refusal;
mod shop;
mod stack;
mod wait;

pub use databases::TestDatabases;
pub use events::{Record, records_of};
pub use own_stack::OwnStack;
pub use refusal::{Wrong, assert_refused, assert_wrong_fields};
pub use shop::Shop;
pub use stack::Stack;
pub use wait::{DEADLINE, eventually};
