#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod checkout;
pub mod control;
pub mod formats;
pub mod home;
pub mod kafka;
pub mod ports;
pub mod process;
pub mod programs;
pub mod replica;
pub mod room;
pub mod running;
pub mod secrets;
pub mod services;
pub mod signals;
pub mod state;
pub mod surroundings;
pub mod terminal;
pub mod testing;
mod toml_file;
