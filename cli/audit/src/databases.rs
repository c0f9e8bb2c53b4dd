//! The databases of the services.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, IsolationLevel, NoTls, Transaction};
use towpath_stack::running::Running;

use super::read;
use super::scope::Scope;
use super::snapshot::Snapshot;

/// How long a database may take to let somebody in, and to answer.
const PATIENCE: Duration = Duration::from_secs(8);

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
        while_it_answers("order", &self.order, async {
            let mut order = connect("order", &self.order).await?;
            read::order(&begin(&mut order).await?, scope, &mut snapshot).await.context("cannot read the orders")
        })
        .await?;
        while_it_answers("payment", &self.payment, async {
            let mut payment = connect("payment", &self.payment).await?;
            read::payment(&begin(&mut payment).await?, scope, &mut snapshot).await.context("cannot read the payments")
        })
        .await?;
        while_it_answers("inventory", &self.inventory, async {
            let mut inventory = connect("inventory", &self.inventory).await?;
            read::inventory(&begin(&mut inventory).await?, scope, &mut snapshot).await.context("cannot read the stock")
        })
        .await?;
        while_it_answers("product", &self.product, async {
            let mut product = connect("product", &self.product).await?;
            read::product(&begin(&mut product).await?, &mut snapshot).await.context("cannot read the catalogue")
        })
        .await?;
        Ok(snapshot)
    }
}

pub(crate) async fn connect(service: &str, url: &str) -> Result<Client> {
    // A server that was stopped takes connections and says nothing.
    let connected = timeout(PATIENCE, tokio_postgres::connect(url, NoTls)).await;
    let connected = connected.map_err(|_| silent(service))?;
    let (client, connection) = connected.with_context(|| format!("cannot reach the database of {service}"))?;
    // It ends with the client; what goes wrong on it comes back from the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

fn silent(service: &str) -> anyhow::Error {
    anyhow!("the database of {service} has said nothing for {} s", PATIENCE.as_secs())
}

/// Reads from a database for as long as that takes, and gives up where the server says nothing any more: another connection
/// asks it meanwhile.
async fn while_it_answers<T>(service: &str, url: &str, reading: impl Future<Output = Result<T>>) -> Result<T> {
    let looking = async {
        loop {
            sleep(PATIENCE).await;
            let look = async {
                let client = connect(service, url).await?;
                anyhow::Ok(client.simple_query("SELECT 1").await?)
            };
            match timeout(PATIENCE, look).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(_) => return silent(service),
            }
        }
    };
    tokio::select! {
        biased;
        read = reading => read,
        silent = looking => Err(silent),
    }
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
