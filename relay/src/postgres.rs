//! PostgreSQL: connections, the statements that a service may send, values, errors, the fate of a COMMIT, migrations.
//!
//! One rule holds for every connection: it never goes back to the pool with a transaction open. A [`Session`] knows from
//! before BEGIN until COMMIT or ROLLBACK is confirmed that it is not clean; if it is dropped in between, by an error, a
//! panic or a dropped future, the connection is closed. Every wait for the server has a deadline of the relay's own, since
//! a server that stands still ends nothing by itself.
//!
//! | module | what it does |
//! |---|---|
//! | [`statement`] | decides which statements are allowed |
//! | [`codec`] | turns JSON values into parameters, and rows into JSON values |
//! | [`migrate`] | roles, databases, the relay's tables and the services' |
//! | `pool`, `session`, `prepared`, `pipeline` | connections and what is sent over them |
//! | `errors`, `outcome` | what an error means; whether a COMMIT whose answer was lost took place |
//! | `relay_role` | the relay's own statements |
//! | `eye`, `grants` | whether a role logs in and has its grants, for `/readyz` |

pub mod codec;
mod database;
mod declared;
mod distress;
mod errors;
mod eye;
mod grants;
pub mod migrate;
mod outcome;
mod pipeline;
mod pool;
mod prepared;
mod relay_role;
mod rows;
mod session;
pub mod statement;

pub use database::Database;
pub(crate) use errors::{Claim, Trouble, is_rolled_back};
pub(crate) use eye::Eye;
pub(crate) use grants::judged;
pub use outcome::{Outcome, Transaction, resolve};
pub(crate) use pipeline::{Sent, answer, send};
pub use pool::{Manager, NoConnection, Pool};
pub(crate) use prepared::Prepared;
pub(crate) use relay_role::{RelayRole, milliseconds};
pub(crate) use rows::{collect, encode};
pub use session::Session;
