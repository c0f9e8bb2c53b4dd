//! The service's database: connections, statements, what errors mean, and what became of a COMMIT.
//!
//! Everything here serves one rule: a connection never goes back to the pool with a transaction open. A
//! [`Session`](session::Session) knows from before BEGIN until COMMIT or ROLLBACK was confirmed that it is not clean;
//! whoever lets go of it in between, by an error, a panic or a dropped future, lets go of the connection too.

mod declared;
mod errors;
mod outcome;
mod pipeline;
mod pool;
mod prepared;
mod rows;
mod session;

pub use errors::{Claim, Trouble, no_connection};
pub use outcome::{Outcome, Transaction, resolve};
pub use pipeline::{Sent, answer, send};
pub use pool::{Connection, Manager, Pool, pool};
pub use prepared::Prepared;
pub use rows::{collect, encode};
pub use session::Session;
