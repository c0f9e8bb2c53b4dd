//! A database of the test's own, with one service's tables in it.

use std::path::Path;

use tokio_postgres::{Client, Config, NoTls};

/// A database that was created and migrated for one test.
pub(crate) struct Database {
    pub(crate) client: Client,
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
    pub(crate) async fn migrated(service: &str) -> Self {
        let url = std::env::var("TOWPATH_TEST_POSTGRES")
            .expect("TOWPATH_TEST_POSTGRES must hold the URL of a PostgreSQL; `./towpath test` starts one");
        let admin: Config = url.parse().expect("TOWPATH_TEST_POSTGRES is a URL");
        let name = format!("{service}_{}", uuid::Uuid::now_v7().simple());
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
    pub(crate) async fn another(&self) -> Client {
        connect(&self.config).await
    }

    /// Leaves nothing behind.
    pub(crate) async fn drop(self) {
        drop(self.client);
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connect(&self.admin).await.batch_execute(&sql).await.expect("the database goes");
    }
}
