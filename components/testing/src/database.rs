//! A database of the test's own, with one service's tables in it, and a hand that runs units of work in it as the relay
//! does.

use std::{path::Path, time::SystemTime};

use serde_json::Value;
use tokio_postgres::{
    Client, Config, NoTls, Transaction,
    types::{ToSql, Type},
};
use towpath_sdk::{UnitOfWork, wire::Step};
use uuid::Uuid;

/// A database that was created and migrated for one test.
#[derive(Debug)]
pub struct Database {
    /// A connection to it, as the superuser, whose search path is `app`.
    pub client: Client,
    config: Config,
    admin: Config,
    name: String,
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the test's PostgreSQL answers");
    tokio::spawn(connection);
    client
}

impl Database {
    /// One with the tables of this service, in the schema `app`, as `towpath migrate` lays them out.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn migrated(service: &str) -> Self {
        let url = std::env::var("TOWPATH_TEST_POSTGRES")
            .expect("TOWPATH_TEST_POSTGRES must hold the URL of a PostgreSQL; `./towpath test` starts one");
        let admin: Config = url.parse().expect("TOWPATH_TEST_POSTGRES is a URL");
        let name = format!("{service}_{}", Uuid::now_v7().simple());
        connect(&admin).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let mut config = admin.clone();
        config.dbname(&name).options("-c search_path=app");
        let client = connect(&config).await;
        client.batch_execute("CREATE SCHEMA app").await.expect("a schema");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(service);
        let mut files: Vec<_> =
            folder.read_dir().expect("migrations").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        for file in files {
            let sql = std::fs::read_to_string(&file).expect("a migration");
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        Self { client, config, admin, name }
    }

    /// A second connection to it.
    pub async fn another(&self) -> Client {
        connect(&self.config).await
    }

    /// Leaves nothing behind.
    ///
    /// # Panics
    /// Where the database stays.
    pub async fn drop(self) {
        drop(self.client);
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connect(&self.admin).await.batch_execute(&sql).await.expect("the database goes");
    }
}

/// Runs a unit of work as the relay does.
///
/// # Errors
/// The label of the first step whose expectation wasn't met; then nothing has happened.
///
/// # Panics
/// Where the database reports an error, such as a deadlock.
pub async fn run(client: &mut Client, unit: UnitOfWork) -> Result<(), String> {
    let transaction = client.transaction().await.expect("a transaction");
    for step in unit.into_request().steps {
        let touched = execute(&transaction, &step).await;
        if step.expect.is_some_and(|expect| !expect.is_met_by(touched)) {
            transaction.rollback().await.expect("a rollback");
            return Err(step.label.expect("a label"));
        }
    }
    transaction.commit().await.expect("a commit");
    Ok(())
}

async fn execute(transaction: &Transaction<'_>, step: &Step) -> u64 {
    let statement = transaction.prepare(&step.sql).await.expect("a statement");
    let params: Vec<_> = statement.params().iter().zip(&step.params).map(|(kind, value)| sql(kind, value)).collect();
    let params: Vec<_> = params.iter().map(|param| &**param as &(dyn ToSql + Sync)).collect();
    let result = transaction.execute(&statement, &params).await;
    result.unwrap_or_else(|error| panic!("{}: {:?}", step.sql, error.as_db_error()))
}

fn sql(kind: &Type, value: &Value) -> Box<dyn ToSql + Sync + Send> {
    let texts = |value: &Value| value.as_array().expect("an array").iter().map(text).collect::<Vec<_>>();
    match *kind {
        Type::TEXT => Box::new(text(value)),
        Type::INT8 => Box::new(value.as_i64().expect("an integer")),
        Type::UUID => Box::new(text(value).parse::<Uuid>().expect("a UUID")),
        Type::TIMESTAMPTZ => Box::new(SystemTime::now()),
        Type::TEXT_ARRAY => Box::new(texts(value)),
        Type::INT8_ARRAY => {
            Box::new(value.as_array().expect("an array").iter().map(|item| item.as_i64()).collect::<Vec<_>>())
        }
        ref other => panic!("no parameter can be of type {other}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}
