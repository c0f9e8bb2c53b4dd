//! What the relay's integration tests share: databases of their own on real servers, a relay in this process, and a
//! component for it to call.
//!
//! Use it from `tests/NAME/main.rs` with `#[path = "../support/mod.rs"] mod support;`. Every [`Setup`] has an id that
//! its databases, roles, topics and Redis keys carry, so that tests run beside each other, and removes its databases
//! when it is dropped.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

mod component;
mod servers;
mod setup;

pub use component::{Call, Component, status};
pub use servers::{Servers, eventually, free_port, kafka_admin, kafka_client, kafka_client_as, send_signal, variable};
pub use setup::{Answer, ServiceSetup, Setup, TestRelay, answer};
