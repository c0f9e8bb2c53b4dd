//! The subcommands of `towpath-relay` that have options of their own.

pub(crate) mod dlq;
