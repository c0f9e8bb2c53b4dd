//! Kafka: how clients are made, records as values, and the topics.
//!
//! What flows through it is in [`crate::events`].

pub mod acls;
mod assignment;
mod client;
mod context;
mod eye;
mod lazy;
mod outside;
mod producing;
mod record;
mod rights;
mod statistics;
mod taken_apart;
mod threads;
pub mod topics;

pub(crate) use crate::config::own_topics::record_bytes;
pub(crate) use client::{Log, REQUEST_TIMEOUT, client, consumer, is_unreadable, producer, reader};
pub(crate) use context::{Listener, LogAnd};
pub(crate) use eye::Eye;
pub(crate) use outside::{GroupSeen, Outside, PartitionSeen};
pub(crate) use producing::{Producer, Renewed, Reports};
pub use record::{Record, RecordHeader};
pub(crate) use record::{Taken, send};
pub(crate) use rights::{Rights, is_denied};
pub(crate) use statistics::Statistics;
pub(crate) use taken_apart::TakenApart;
pub(crate) use threads::{blocking, dispose, on_a_thread};
