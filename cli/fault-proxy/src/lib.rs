#![doc = include_str!("../README.md")]

mod fate;
mod http;
mod kafka;
mod line;
mod postgres;
mod protocol;
mod proxy;
mod shared;
mod tcp;

pub use crate::fate::Fate;
pub use crate::http::{Http, answer};
pub use crate::kafka::{FIND_COORDINATOR, HEARTBEAT, Kafka, METADATA, PRODUCE, Request as KafkaRequest};
pub use crate::postgres::{Message as PostgresMessage, Postgres};
pub use crate::protocol::{Ports, Protocol};
pub use crate::proxy::Proxy;
pub use crate::tcp::Tcp;
