//! What the black-box tests share: the stack that they run against, a corner of it for each test, and the way to wait.
//!
//! All tests of `tests/black_box` run at once against one stack. They don't disturb each other because each works in a
//! [`Shop`] of its own: SKUs and customers that no other test knows, and at its end an audit of its own orders only.
//! What kills parts or needs another configuration starts a stack of its own ([`OwnStack`]), in a binary of its own.
//!
//! Nothing here sleeps and hopes. A test waits for a condition with a deadline ([`eventually`]), and what it last saw
//! stands in the message when the deadline passes.

mod databases;
mod events;
mod own_stack;
mod refusal;
mod shop;
mod stack;
mod wait;

pub use databases::TestDatabases;
pub use events::{Record, records_of};
pub use own_stack::OwnStack;
pub use refusal::{Wrong, assert_refused, assert_wrong_fields};
pub use shop::Shop;
pub use stack::Stack;
pub use wait::{DEADLINE, eventually};
