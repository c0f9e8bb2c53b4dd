//! The rules of an order: pure, without I/O, so that tests can run them against every sequence of events.
//!
//! * [`status`]: the states of an order, and the table of steps between them.
//! * [`placing`]: what a customer may order, and what it costs.
//! * [`saga`]: what an order does about events of its stock and its payment, in every order and more than once.

pub mod placing;
pub mod saga;
pub mod status;

pub use placing::{Draft, Line, OnDecline, Price, Priced, Refusal};
pub use saga::{Asks, Cancelling, Decision, Heard, Paying, Said, Seen};
pub use status::Status;
