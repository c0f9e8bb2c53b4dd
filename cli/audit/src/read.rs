//! The SQL of the audit: it reads the services' own tables as they stand in `migrations/`.

mod inventory;
mod order;
mod payment;
mod product;

pub(super) use inventory::inventory;
pub(super) use order::order;
pub(super) use payment::payment;
pub(super) use product::product;
