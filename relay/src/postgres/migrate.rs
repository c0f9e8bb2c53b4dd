//! `towpath-relay migrate`: creates and updates the databases of the services.
//!
//! Roles, the database, schemas and privileges are made again at every run, each only where it differs. Then two sets
//! of migrations run, each with its history: the relay's own (`towpath.schema_history`, embedded here) and the
//! service's (`app.schema_history`, from its folder). An applied file that was changed or is missing is refused, and so
//! is a set that is older than the database. Runs at the same time wait for each other.
//!
//! A migration must leave the relay and the components that are still running able to work: widen first, narrow in a
//! later release.

mod bootstrap;
mod privileges;
mod told;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};

use refinery_core::{Migration, Runner};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use crate::config::{Config, PostgresConfig, PostgresUrl};

pub(super) use privileges::FOR_THE_SERVICE;

/// The relay's own migrations, oldest first.
const RELAY: &[(&str, &str)] = &[
    ("V1__relay_tables", include_str!("../../migrations/V1__relay_tables.sql")),
    ("V2__publishers", include_str!("../../migrations/V2__publishers.sql")),
    ("V3__traces", include_str!("../../migrations/V3__traces.sql")),
    ("V4__held_keys", include_str!("../../migrations/V4__held_keys.sql")),
    ("V5__bounded_scans", include_str!("../../migrations/V5__bounded_scans.sql")),
    ("V6__leases", include_str!("../../migrations/V6__leases.sql")),
];
/// Where each set keeps its history.
const RELAY_HISTORY: &str = "towpath.schema_history";
const SERVICE_HISTORY: &str = "app.schema_history";
/// How long a migration may wait for a lock: all other statements on the table wait behind it.
const LOCK_TIMEOUT: &str = "10s";
/// How long a run waits for another one of the same database.
const TURN_TIMEOUT: &str = "10min";
/// The advisory lock that runs take.
const LOCK: i64 = 0x746f_7770_6174_6801;

/// Why a service couldn't be migrated.
#[derive(Debug, thiserror::Error)]
#[error("{service}: {kind}")]
pub struct Error {
    /// The service.
    pub service: String,
    /// What went wrong.
    pub kind: ErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// relay.toml doesn't say enough.
    #[error("{0}")]
    Configuration(String),
    /// The server can't be reached, or refused the login.
    #[error("can't connect to {0}: {cause}", cause = told::cause(.1))]
    Connect(Box<PostgresUrl>, tokio_postgres::Error),
    /// The server takes connections and says nothing.
    #[error("{0} doesn't answer (waited {seconds} s)", seconds = watch::PATIENCE.as_secs())]
    Silent(Box<PostgresUrl>),
    /// PostgreSQL refused a statement.
    #[error("{0}: {cause}", cause = told::cause(.1))]
    Statement(&'static str, tokio_postgres::Error),
    /// A role may do more than it should.
    #[error("{0}")]
    Role(String),
    /// The files and the history disagree.
    #[error("{0}")]
    Drift(String),
    /// A migration failed; it was rolled back.
    #[error("{0}")]
    Migration(String),
}

type Result<T> = std::result::Result<T, ErrorKind>;

/// Names what was being done when a statement failed.
trait During<T> {
    fn during(self, what: &'static str) -> Result<T>;
}

impl<T> During<T> for std::result::Result<T, tokio_postgres::Error> {
    fn during(self, what: &'static str) -> Result<T> {
        self.map_err(|error| ErrorKind::Statement(what, error))
    }
}

/// What a run did for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The service.
    pub service: String,
    /// The relay's migrations that were applied now.
    pub relay: Vec<String>,
    /// The service's migrations that were applied now.
    pub own: Vec<String>,
    /// What couldn't be done and weakens the walls around the service.
    pub warnings: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applied = self.relay.iter().map(|name| format!("relay {name}")).chain(self.own.iter().cloned());
        let applied = applied.collect::<Vec<_>>().join(", ");
        write!(f, "{}: {}", self.service, if applied.is_empty() { "up to date" } else { &applied })?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}

/// Migrates every service that has a database, one after the other, and stops at the first that fails.
///
/// # Errors
/// Which service failed, and why. What was applied before stays; a further run goes on from there.
pub async fn run(config: &Config) -> std::result::Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for (name, service) in &config.services {
        let Some(postgres) = &service.postgres else { continue };
        let done = match &postgres.admin_url {
            Some(admin) => watch::over(name, admin, migrate(name, postgres, admin)).await,
            None => Err(ErrorKind::Configuration(format!(
                "services.{name}.postgres.admin_url is missing, or its variable isn't set: migrate connects with it"
            ))),
        };
        reports.push(done.map_err(|kind| Error { service: name.clone(), kind })?);
    }
    Ok(reports)
}

async fn migrate(service: &str, postgres: &PostgresConfig, admin: &PostgresUrl) -> Result<Report> {
    let own = match &postgres.migrations {
        Some(folder) => load(folder)?,
        None => Vec::new(),
    };
    bootstrap::roles_and_database(admin, postgres).await?;
    let mut client = connect(admin, admin.config().clone().dbname(postgres.url.database())).await?;
    lock(service, &client).await?;
    let warnings = privileges::before(&client, postgres).await?;
    let relay = relay_set(&mut client, postgres).await?;
    let own = service_set(&mut client, &own, postgres.migrations.as_deref()).await?;
    privileges::after(&client, postgres).await?;
    bootstrap::logins(&client, postgres).await?;
    Ok(Report { service: service.into(), relay, own, warnings })
}

/// Connects and keeps the connection going as long as the client lives.
async fn connect(url: &PostgresUrl, config: &tokio_postgres::Config) -> Result<Client> {
    let connecting = tokio::time::timeout(watch::PATIENCE, config.connect(NoTls)).await;
    let connected = connecting.map_err(|_| ErrorKind::Silent(Box::new(url.clone())))?;
    let (client, connection) = connected.map_err(|error| ErrorKind::Connect(Box::new(url.clone()), error))?;
    tokio::spawn(connection);
    Ok(client)
}

/// Waits for other runs. The lock ends with the connection.
async fn lock(service: &str, client: &Client) -> Result<()> {
    let during = "waiting for another migration of this database";
    let free = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await.during(during)?;
    if !free.get::<_, bool>(0) {
        eprintln!("Waiting for another migration of the database of {service}, {TURN_TIMEOUT} at most");
        client.batch_execute(&format!("SET lock_timeout = '{TURN_TIMEOUT}'")).await.during(during)?;
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.during(during)?;
    }
    Ok(())
}

fn load(folder: &Path) -> Result<Vec<Migration>> {
    let mut migrations = refinery_core::load_sql_migrations(folder).map_err(|error| {
        ErrorKind::Configuration(format!("the migrations in {} can't be read: {error}", folder.display()))
    })?;
    migrations.sort();
    // Of two files with one version the second would never run.
    match migrations.windows(2).find(|pair| pair[0].version() == pair[1].version()) {
        Some(pair) => {
            Err(ErrorKind::Drift(format!("{} and {} have one version; give one of them another", pair[0], pair[1])))
        }
        None => Ok(migrations),
    }
}

fn relay_migrations() -> std::result::Result<Vec<Migration>, refinery_core::Error> {
    RELAY.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect()
}

/// As the role that runs the relay's background work, which so owns all of it.
async fn relay_set(client: &mut Client, postgres: &PostgresConfig) -> Result<Vec<String>> {
    let role = quote_name(postgres.relay_url.user());
    let begin = format!("SET lock_timeout = '{LOCK_TIMEOUT}'; SET search_path = pg_catalog; SET ROLE {role}");
    client.batch_execute(&begin).await.during("becoming the relay's role")?;
    let set = Set { whose: "the relay's", folder: None };
    let migrations = relay_migrations().map_err(|error| set.error(&[], &error))?;
    let applied = set.apply(client, RELAY_HISTORY, &migrations).await;
    client.batch_execute("RESET ROLE; RESET search_path").await.during("becoming the admin again")?;
    applied
}

async fn service_set(client: &mut Client, migrations: &[Migration], folder: Option<&Path>) -> Result<Vec<String>> {
    let begin = format!("SET lock_timeout = '{LOCK_TIMEOUT}'; SET search_path = app");
    client.batch_execute(&begin).await.during("setting the search path")?;
    Set { whose: "the service's", folder: folder.map(Path::to_owned) }.apply(client, SERVICE_HISTORY, migrations).await
}

/// A set of migrations, as errors speak of it.
struct Set {
    whose: &'static str,
    /// Where its files are.
    folder: Option<PathBuf>,
}

impl Set {
    async fn apply(&self, client: &mut Client, history: &str, migrations: &[Migration]) -> Result<Vec<String>> {
        let mut runner = Runner::new(migrations).set_abort_divergent(true).set_abort_missing(true);
        runner.set_migration_table_name(history);
        let report = runner.run_async(client).await.map_err(|error| self.error(migrations, &error))?;
        Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
    }

    /// Says what a person has to do.
    fn error(&self, migrations: &[Migration], error: &refinery_core::Error) -> ErrorKind {
        use refinery_core::error::Kind;
        let whose = self.whose;
        match error.kind() {
            Kind::DivergentVersion(applied, file) => ErrorKind::Drift(format!(
                "{whose} migration {applied} was applied, and the file {file} differs from it now; bring the old text back \
             and put the change into a new file with a higher version"
            )),
            Kind::MissingVersion(migration) if migration.applied_on().is_some() => ErrorKind::Drift(format!(
                "{whose} migration {migration} was applied to the database but is missing here; this release is older than \
             the database, and migrations don't run backwards"
            )),
            Kind::MissingVersion(migration) => ErrorKind::Drift(format!(
                "{whose} migration {migration} is new but has a lower version than one that was applied; give it a higher one"
            )),
            Kind::RepeatedVersion(migration) => {
                ErrorKind::Drift(format!("{whose} migrations have two files with the version of {migration}"))
            }
            Kind::Connection(what, source) => ErrorKind::Migration(self.failed(migrations, what, &**source)),
            _ => ErrorKind::Drift(format!("{whose} migrations: {error}")),
        }
    }

    /// Where it failed, and why.
    fn failed(&self, migrations: &[Migration], what: &str, source: &(dyn std::error::Error + 'static)) -> String {
        let Some(error) = source.downcast_ref::<tokio_postgres::Error>() else {
            return format!("{} migrations: {what}: {source}; it was rolled back", self.whose);
        };
        // The runner says which one in words alone.
        let failed = migrations.iter().find(|migration| what.ends_with(&format!(" {migration}")));
        let Some((migration, text)) = failed.and_then(|failed| Some((failed, failed.sql()?))) else {
            return format!("{} migrations: {what}: {}; it was rolled back", self.whose, told::cause(error));
        };
        let file = format!("{migration}.sql");
        let file = self.folder.as_ref().map_or_else(|| file.clone(), |folder| folder.join(&file).display().to_string());
        told::in_file(error, &file, text, "; it was rolled back")
    }
}

/// The relay's migrations that a database still lacks, as the relay's role sees it. A newer schema is fine: it was
/// made so that this relay works on it.
///
/// # Errors
/// Where the server can't be asked.
pub async fn missing(client: &Client) -> std::result::Result<Vec<&'static str>, tokio_postgres::Error> {
    // Asked every second: `query_typed` prepares nothing.
    let exists = "SELECT to_regclass($1::text) IS NOT NULL";
    let exists = client.query_typed(exists, &[(&RELAY_HISTORY, Type::TEXT)]).await?;
    let applied: i32 = if exists.iter().any(|row| row.get(0)) {
        let newest = format!("SELECT coalesce(max(version), 0)::int4 FROM {RELAY_HISTORY}");
        client.query_typed(&newest, &[]).await?.first().map_or(0, |row| row.get(0))
    } else {
        0
    };
    let known = usize::try_from(applied).unwrap_or(0);
    Ok(RELAY.iter().skip(known).map(|(name, _)| *name).collect())
}

/// An identifier in SQL.
fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string in SQL, as `standard_conforming_strings` has it.
fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_relay_is_embedded_in_the_order_of_versions() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let files = load(&folder).expect("the files can be read");
        let embedded = relay_migrations().expect("the names are right");
        assert_eq!(files, embedded);
        for (index, migration) in embedded.iter().enumerate() {
            assert_eq!(migration.version(), index as i32 + 1, "versions count up by one");
        }
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quote_name("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_text("a'b\\"), "'a''b\\'");
    }
}
