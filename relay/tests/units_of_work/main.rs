//! Units of work, queries, values, statements and migrations against a real PostgreSQL. One test per rule of relay/src's module
//! docs.

#[path = "../support/mod.rs"]
mod support;

mod commit;
mod connections;
mod gate;
mod hot_key;
mod migrations;
mod order;
mod role;
mod rules;
mod statements;
mod values;
mod waiting;

use std::sync::Arc;

use serde_json::Value;
use support::{ServiceSetup, Setup};
use towpath_relay::Failure;
use towpath_relay::config::PostgresConfig;
use towpath_relay::telemetry::TraceContext;
use towpath_relay::{Relay, Service};
use towpath_relay::{query, unit_of_work};
use towpath_wire::{Code, QueryResponse, TransactionResponse};

/// A relay with one service, `alpha`, that has a database and may publish to the topic `x`. It serves no HTTP, and
/// nobody publishes its outbox.
pub(crate) struct Work {
    pub(crate) setup: Setup,
    pub(crate) relay: Arc<Relay>,
}

impl Work {
    /// With these tables in its schema.
    pub(crate) async fn new(tables: &str) -> Self {
        Self::with("", tables).await
    }

    /// With these limits.
    pub(crate) async fn with(limits: &str, tables: &str) -> Self {
        Self::changed(limits, tables, |_| {}).await
    }

    /// With these limits, and a database that is reached in another way.
    pub(crate) async fn changed(limits: &str, tables: &str, change: impl FnOnce(&mut PostgresConfig)) -> Self {
        let setup = setup(limits).databases().await;
        setup.execute("alpha", tables).await;
        let mut config = setup.config("relay");
        let alpha = config.services.get_mut("alpha").expect("the service");
        change(alpha.postgres.as_mut().expect("its database"));
        let relay = Relay::new(config).expect("a relay");
        tokio::spawn(relay.redis.clone().keep(relay.lifecycle.stop_background.clone()));
        Self { setup, relay }
    }

    pub(crate) fn service(&self) -> Arc<Service> {
        Arc::clone(&self.relay.services["alpha"])
    }

    pub(crate) async fn run(&self, unit: Value) -> Result<TransactionResponse, Failure> {
        run(&self.service(), unit).await
    }

    /// Runs a unit that must fail with this code.
    pub(crate) async fn refused(&self, code: Code, unit: Value) -> Failure {
        match self.run(unit.clone()).await {
            Err(failure) if failure.code() == code => failure,
            other => panic!("{unit}: expected {code:?}, got {other:?}"),
        }
    }

    pub(crate) async fn query(&self, query: Value) -> Result<QueryResponse, Failure> {
        look(&self.service(), query).await
    }

    /// One value, as a superuser sees it.
    pub(crate) async fn see(&self, sql: &str) -> String {
        let admin = self.setup.admin("alpha").await;
        admin.batch_execute("SET search_path TO app").await.expect("a search path");
        admin
            .query_one(&format!("SELECT ({sql})::text"), &[])
            .await
            .expect(sql)
            .get::<_, Option<String>>(0)
            .unwrap_or_default()
    }

    /// How many connections of the service's role stand in a transaction.
    pub(crate) async fn open_transactions(&self) -> String {
        let role = format!("{}_alpha_app", self.setup.id);
        self.see(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND xact_start IS NOT NULL"))
            .await
    }

    pub(crate) fn topic(&self) -> String {
        self.setup.topic("x")
    }
}

pub(crate) fn setup(limits: &str) -> Setup {
    Setup::new()
        .service(ServiceSetup::new("alpha").database().publishes("x"))
        .declare("x")
        .toml(&format!("[limits]\n{limits}"))
}

pub(crate) async fn run(service: &Arc<Service>, unit: Value) -> Result<TransactionResponse, Failure> {
    let request = serde_json::from_value(unit).expect("a unit of work");
    unit_of_work::run(service, request, TraceContext::begin()).await
}

pub(crate) async fn look(service: &Arc<Service>, request: Value) -> Result<QueryResponse, Failure> {
    query::run(service, serde_json::from_value(request).expect("a query")).await
}
