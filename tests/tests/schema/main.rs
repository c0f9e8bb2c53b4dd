//! The SQL of inventory, order and payment against their migrated schemas, on a real PostgreSQL: texts whose meaning is in
//! their guards are run, two at once where that is the point.

mod inventory;
mod order;
mod payment;
mod steps;
mod waiting;

use towpath_component_testing::database::{self, Database};
