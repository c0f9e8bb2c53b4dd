//! One module per command. Commands of more than one file have a folder of their own beside this one (`audit`, `bench`).
pub(crate) mod dlq;
pub(crate) mod down;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod part;
pub(crate) mod psql;
pub(crate) mod reset;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;

/// How a shell reports a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;
