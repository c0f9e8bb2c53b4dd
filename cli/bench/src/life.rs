//! The limit of an order: all SQL of its life, by pgbench, on the servers of the stack that is measured.
//!
//! Six commits: three of order, two of inventory, one of payment, each with rows for what a service that loses and doubles
//! nothing has to keep (the events that it says, the ids of those that it has heard, the answer under the idempotency key). The
//! three servers work at the same time, and the slowest of them says how many orders there are in a second.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio_postgres::NoTls;
use towpath_stack::running::Running;

use super::pgbench::{self, Until};

/// What each service does for one order.
const SCRIPTS: [(&str, &str); 3] = [
    ("order", include_str!("life/order.sql")),
    ("inventory", include_str!("life/inventory.sql")),
    ("payment", include_str!("life/payment.sql")),
];
const KEPT: &str = "CREATE TABLE app.bench_kept (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), data text NOT NULL)";
const STOCK: &str = "INSERT INTO app.stock (sku, on_hand)
    SELECT 'BENCH-LIFE-' || n, 1000000000 FROM generate_series(1, 50) AS n";
/// Orders of each client in the run that finds out how many fit into a round.
const PROBE: u64 = 20;

/// A stack's databases, with what the scripts need.
pub(super) struct Life {
    urls: Vec<(String, &'static str)>,
}

impl Life {
    /// Makes what the scripts need.
    pub(super) async fn prepare(stack: &Running) -> Result<Self> {
        let mut urls = Vec::new();
        for (service, script) in SCRIPTS {
            let url = stack.postgres_admin_url(service);
            let (database, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .with_context(|| format!("cannot reach {service}'s database"))?;
            tokio::spawn(connection);
            database.batch_execute(KEPT).await.context("cannot make the table of the benchmark")?;
            if service == "inventory" {
                database.batch_execute(STOCK).await.context("cannot make the stock of the benchmark")?;
            }
            urls.push((url, script));
        }
        Ok(Self { urls })
    }

    /// Orders in a second.
    pub(super) async fn run(&self, clients: usize, time: Duration) -> Result<f64> {
        let probe = self.orders(clients, PROBE).await?;
        let orders = probe * time.as_secs_f64() / clients as f64;
        self.orders(clients, (orders as u64).max(PROBE)).await
    }

    async fn orders(&self, clients: usize, each: u64) -> Result<f64> {
        let runs = self.urls.iter().map(|(url, script)| pgbench::run(clients, Until::Runs(each), url, script));
        Ok(try_join_all(runs).await?.into_iter().fold(f64::INFINITY, f64::min))
    }
}
