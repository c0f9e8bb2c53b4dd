//! The rules of an order: pure, without I/O, so that they can be tried against every course of events.
//!
//! * [`status`]: which states an order has, and which follows which. One table.
//! * [`placing`]: what a customer may ask for, and what it costs.
//! * [`saga`]: what an order does when it hears of its stock and its payment, whatever comes first or twice.

pub mod placing;
pub mod saga;
pub mod status;

pub use placing::{Draft, Line, Price, Priced, Refusal};
pub use saga::{Cancelling, Decision, Heard, Said, Seen};
pub use status::Status;
