//! Units of work, queries, values, statements and migrations against a real PostgreSQL. One test per rule of relay/src's module
//! docs.

#[path = "../support/mod.rs"]
mod support;

mod commit;
mod connections;
mod gate;
mod hot_key;
mod hot_row;
mod invalidation;
mod migrations;
mod nothing_happened;
mod order;
mod postgres_server;
mod primary;
mod role;
mod room;
mod rules;
mod schema_change;
mod silence;
mod statements;
mod values;
mod waiting;

use std::sync::Arc;

use serde_json::Value;
use support::{Servers, ServiceSetup, Setup};
use towpath_fault_proxy::{Postgres, Proxy};
use towpath_relay::Failure;
use towpath_relay::config::{Config, PostgresConfig};
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
        change(postgres_of(&mut config));
        let relay = relay(config);
        Self { setup, relay }
    }

    /// With these limits, and a proxy before its database, which the service's role alone goes through.
    pub(crate) async fn behind_a_proxy(limits: &str, tables: &str) -> (Proxy<Postgres>, Self) {
        let server = reqwest::Url::parse(&Servers::from_env().postgres).expect("a URL");
        let server = server.socket_addrs(|| Some(5432)).expect("an address")[0];
        let proxy = Proxy::before(&server.to_string()).await.expect("a port");
        let work = Self::changed(limits, tables, |postgres| {
            postgres.url = proxy.instead_of(postgres.url.expose()).parse().expect("a URL");
        })
        .await;
        work.run(serde_json::json!({"steps": [{"sql": "SELECT 1"}]})).await.expect("the line works");
        (proxy, work)
    }

    /// How many connections the service's role has, in use or not.
    pub(crate) fn connections(&self) -> usize {
        self.service().database().expect("a database").app.status().size
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

/// The database of the one service.
pub(crate) fn postgres_of(config: &mut Config) -> &mut PostgresConfig {
    let alpha = config.services.get_mut("alpha").expect("the service");
    alpha.postgres.as_mut().expect("its database")
}

/// A relay that keeps its connection to Redis, and does nothing else by itself.
pub(crate) fn relay(config: Config) -> Arc<Relay> {
    let relay = Relay::new(config).expect("a relay");
    tokio::spawn(relay.redis.clone().keep(relay.lifecycle.stop_background.clone()));
    relay
}

pub(crate) fn setup(limits: &str) -> Setup {
    Setup::new()
        .service(ServiceSetup::new("alpha").database().publishes("x"))
        .declare("x")
        .toml(&format!("[limits]\n{limits}"))
}

pub(crate) async fn run(service: &Arc<Service>, unit: Value) -> Result<TransactionResponse, Failure> {
    let request = serde_json::from_value(unit).expect("a unit of work");
    unit_of_work::run(service, request, TraceContext::begin(), Box::new(())).await
}

pub(crate) async fn look(service: &Arc<Service>, request: Value) -> Result<QueryResponse, Failure> {
    query::run(service, serde_json::from_value(request).expect("a query")).await
}
