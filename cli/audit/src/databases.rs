//! The databases of the services.

use anyhow::{Context, Result};
use tokio_postgres::{Client, IsolationLevel, NoTls, Transaction};
use towpath_stack::running::Running;

use super::read;
use super::scope::Scope;
use super::snapshot::Snapshot;

/// Where the databases are: URLs of a role that may read everything.
#[derive(Clone)]
pub struct Databases {
    /// The catalogue's.
    pub product: String,
    /// The orders'.
    pub order: String,
    /// The payments'.
    pub payment: String,
    /// The stock's.
    pub inventory: String,
}

impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Databases(with passwords)")
    }
}

impl Databases {
    /// Those of a running stack.
    #[must_use]
    pub fn of(stack: &Running) -> Self {
        Self::at(|service| stack.postgres_admin_url(service))
    }

    /// Those that have these URLs, by the names of their services.
    pub fn at(url: impl Fn(&str) -> String) -> Self {
        Self { product: url("product"), order: url("order"), payment: url("payment"), inventory: url("inventory") }
    }

    /// Reads what is in scope: each database in one read-only transaction that sees one snapshot.
    pub async fn read(&self, scope: &Scope) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut order = connect("order", &self.order).await?;
        read::order(&begin(&mut order).await?, scope, &mut snapshot).await.context("cannot read the orders")?;
        let mut payment = connect("payment", &self.payment).await?;
        read::payment(&begin(&mut payment).await?, scope, &mut snapshot).await.context("cannot read the payments")?;
        let mut inventory = connect("inventory", &self.inventory).await?;
        read::inventory(&begin(&mut inventory).await?, scope, &mut snapshot).await.context("cannot read the stock")?;
        let mut product = connect("product", &self.product).await?;
        read::product(&begin(&mut product).await?, &mut snapshot).await.context("cannot read the catalogue")?;
        Ok(snapshot)
    }
}

pub(crate) async fn connect(service: &str, url: &str) -> Result<Client> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.with_context(|| format!("cannot reach the database of {service}"))?;
    // It ends with the client; what goes wrong on it comes back from the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn begin(client: &mut Client) -> Result<Transaction<'_>> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(transaction.start().await?)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    /// Services whose databases no invariant is about.
    const UNAUDITED: &[&str] = &[];

    #[test]
    fn every_database_of_relay_toml_is_audited() {
        let services = towpath_stack::testing::services();
        let audited = RefCell::new(UNAUDITED.iter().map(|service| (*service).to_owned()).collect::<BTreeSet<_>>());
        let _ = Databases::at(|service| {
            audited.borrow_mut().insert(service.to_owned());
            String::new()
        });
        let databases: BTreeSet<String> = services.databases().map(str::to_owned).collect();
        assert_eq!(
            audited.into_inner(),
            databases,
            "Databases and UNAUDITED in cli/audit/src/databases.rs, and relay.toml"
        );
    }
}
