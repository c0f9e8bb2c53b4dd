//! One module per command. `audit`, `bench` and `chaos` are crates of their own.
pub(crate) mod completions;
pub(crate) mod dlq;
pub(crate) mod down;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod new;
pub(crate) mod outbox;
pub(crate) mod pairs;
pub(crate) mod part;
pub(crate) mod psql;
mod relay;
pub(crate) mod reset;
pub(crate) mod rotate_passwords;
pub(crate) mod rotate_tokens;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;

/// How a shell reports a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
