//! The subcommands that are more than a line in `main`.

pub(crate) mod dlq;
