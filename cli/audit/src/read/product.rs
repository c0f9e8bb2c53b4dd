//! The product service's database.

use tokio_postgres::{Error, Transaction};

use crate::snapshot::Snapshot;

const KNOWN_SKUS: &str = "SELECT sku FROM app.products WHERE sku = ANY ($1)";

/// Reads which of the demanded SKUs a product has: those in `snapshot.demands`, so the orders come first.
pub(crate) async fn product(database: &Transaction<'_>, snapshot: &mut Snapshot) -> Result<(), Error> {
    let mut skus: Vec<&str> = snapshot.demands.iter().map(|demand| demand.sku.as_str()).collect();
    skus.sort_unstable();
    skus.dedup();
    let rows = database.query(KNOWN_SKUS, &[&skus]).await?;
    snapshot.known_skus = rows.iter().map(|row| row.try_get("sku")).collect::<Result<_, _>>()?;
    Ok(())
}
