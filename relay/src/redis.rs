//! Redis: the connection, and what the relay keeps there. Nothing in it is lost for good with it.
//!
//! | module | what it does |
//! |---|---|
//! | [`cache`] | values and answers of queries |
//! | `rate_limit` | buckets |
//! | `wakeups` | tells other relays' waiters to look again |

pub mod cache;
mod connection;
pub(crate) mod look;
pub(crate) mod rate_limit;
mod wakeups;

pub use cache::Cache;
pub use connection::Redis;
pub use wakeups::{Space, Waiter, Wakeups};
