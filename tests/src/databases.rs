//! The services' databases, migrated for one test as every installation is, and copies of them.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Url;
use towpath_audit::Databases;
use towpath_relay::config::Config;
use towpath_relay::postgres::migrate;
use towpath_stack::services::Services;
use uuid::Uuid;

/// A database for each service that has one; some may be shared with those that they were copied from. They go when this is dropped.
#[derive(Debug)]
pub struct TestDatabases {
    server: Server,
    /// By service: the name of its database.
    names: BTreeMap<String, String>,
    made: Vec<String>,
    roles: Vec<String>,
}

/// The server of the tests, as its superuser.
#[derive(Clone, Debug)]
struct Server {
    url: Url,
}

impl Server {
    fn from_environment() -> Self {
        let url = std::env::var("TOWPATH_TEST_POSTGRES");
        let url =
            url.expect("TOWPATH_TEST_POSTGRES isn't set: this test needs a real server; `./towpath test` starts it");
        Self { url: url.parse().expect("TOWPATH_TEST_POSTGRES is a URL") }
    }

    fn database(&self, name: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(name);
        url.into()
    }

    fn database_as(&self, role: &str, name: &str) -> String {
        let mut url = self.url.clone();
        url.set_username(role).and_then(|()| url.set_password(Some("test"))).expect("a user and a password");
        url.set_path(name);
        url.into()
    }

    async fn execute(&self, database: &str, sql: &str) {
        let (client, connection) =
            tokio_postgres::connect(&self.database(database), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap_or_else(|cause| panic!("{database}: {cause:?}: {sql}"));
        drop(client);
        // Until it is closed, nobody can make a copy of the database.
        connection.await.expect("the connection's task ends").expect("the connection closes");
    }
}

impl TestDatabases {
    /// Migrates fresh databases as `towpath migrate` does.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn migrated() -> Self {
        let server = Server::from_environment();
        let id = format!("test_{}", &Uuid::now_v7().simple().to_string()[12..]);
        let services = Services::load().expect("relay.toml and spin.toml");
        let names: BTreeMap<String, String> =
            services.databases().map(|service| (service.to_owned(), format!("{id}_{service}"))).collect();
        let mut roles: Vec<String> = names.values().map(|name| format!("{name}_app")).collect();
        roles.push(format!("{id}_relay"));
        let made = names.values().cloned().collect();
        let databases = Self { server, names, made, roles };
        databases.migrate().await;
        databases
    }

    async fn migrate(&self) {
        let relay = self.roles.last().expect("the relay's role");
        let mut text = String::from(
            "[relay]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             [redis]\nurl = \"redis://127.0.0.1:1\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n",
        );
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        for (service, name) in &self.names {
            let app = self.server.database_as(&format!("{name}_app"), name);
            let relay = self.server.database_as(relay, name);
            let (admin, migrations) = (self.server.database(name), migrations.join(service));
            text += &format!(
                "[services.{service}]\ntoken = \"token-of-{service}-for-these-tests\"\n[services.{service}.postgres]\n\
                 url = \"{app}\"\nrelay_url = \"{relay}\"\nadmin_url = \"{admin}\"\nmigrations = \"{}\"\n",
                migrations.display()
            );
        }
        let config =
            Config::parse("test", &text, Path::new("."), &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
        migrate::run(&config).await.unwrap_or_else(|cause| panic!("{cause}"));
    }

    /// The same, but with a copy of one service's database in which this SQL was run.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn with(&self, service: &str, sql: &str) -> Self {
        let mut names = self.names.clone();
        let name = names.get_mut(service).expect("a service");
        let copy = format!("{name}_{}", &Uuid::new_v4().simple().to_string()[..8]);
        self.server.execute("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {name}")).await;
        *name = copy.clone();
        let changed = Self { server: self.server.clone(), names, made: vec![copy], roles: vec![] };
        changed.execute(service, sql).await;
        changed
    }

    /// Runs SQL as the superuser, on the service's own tables. Triggers and foreign keys don't look at it: it lays out rows in
    /// whatever state a release, a restored backup or a fault could have left them. CHECKs do.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn execute(&self, service: &str, sql: &str) {
        self.server
            .execute(
                self.name(service),
                &format!("SET search_path = app; SET session_replication_role = replica; {sql}"),
            )
            .await;
    }

    /// A URL to a service's database, of the role that its components' statements run as.
    #[must_use]
    pub fn url_of_service(&self, service: &str) -> String {
        let name = self.name(service);
        self.server.database_as(&format!("{name}_app"), name)
    }

    /// Where an audit reads.
    #[must_use]
    pub fn for_audit(&self) -> Databases {
        Databases::at(|service| self.server.database(self.name(service)))
    }

    fn name(&self, service: &str) -> &str {
        self.names.get(service).expect("a service")
    }
}

impl Drop for TestDatabases {
    fn drop(&mut self) {
        let (server, made, roles) = (self.server.clone(), self.made.clone(), self.roles.clone());
        // A runtime can't be entered twice on one thread, and the test's own may be gone.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                for name in made {
                    server.execute("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                }
                for role in roles {
                    server.execute("postgres", &format!("DROP ROLE IF EXISTS {role}")).await;
                }
            });
        });
        // A test that failed has said why already.
        let _ = cleaner.join();
    }
}
