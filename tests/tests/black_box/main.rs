//! The stack as its clients see it: everything over HTTP, except what was published, which is read from Kafka itself.
//!
//! All of these run at once against one stack; see the library of this crate for how they keep out of each other's way.

mod authentication;
mod books;
mod browsers;
mod cancellation;
mod catalogue;
mod edge;
mod events;
mod idempotency;
mod inventory;
mod keys;
mod odd_requests;
mod order_lists;
mod orders;
mod prices;
mod refused_catalogue;
mod refused_orders;
mod sale;
mod webhooks;
