//! The SQL of order and payment against their migrated schemas, on a real PostgreSQL: texts whose meaning is in their
//! guards are run, two at once where that is the point.

mod database;
mod order;
mod payment;

use database::Database;
