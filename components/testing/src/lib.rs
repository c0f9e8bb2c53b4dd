#![doc = include_str!("../README.md")]

#[cfg(feature = "database")]
pub mod database;
pub mod events;
pub mod refusals;
pub mod sources;
#[cfg(feature = "tokens")]
pub mod tokens;
