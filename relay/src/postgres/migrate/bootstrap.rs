//! Roles and the database.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{During, ErrorKind, LOCK, Result, TURN_TIMEOUT, connect, quote_name, quote_text};
use crate::config::{PostgresConfig, PostgresUrl};

/// The database that every server has, where runs on one server meet.
const MAINTENANCE: &str = "postgres";

/// Makes what stands outside the database.
pub(super) async fn roles_and_database(admin: &PostgresUrl, postgres: &PostgresConfig) -> Result<()> {
    distinct(admin, postgres)?;
    let client = maintenance(admin).await?;
    // Roles belong to the whole server, so other services' runs wait here too; only for a moment, as making a database
    // takes long and needs no lock.
    client.batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = '{TURN_TIMEOUT}'")).await.during("beginning")?;
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.during("waiting for another migration")?;
    for url in [&postgres.url, &postgres.relay_url] {
        role(&client, url).await?;
    }
    close_others(&client).await?;
    client.batch_execute("COMMIT").await.during("making roles")?;
    database(&client, postgres).await?;
    quiet(&client, postgres).await
}

/// What a service's statements are refused for is the service's business: the relay answers it, and logs what is wrong with the
/// server. A unit's statements are on the wire before the first one's outcome is known, so behind one that finds nothing, or a key
/// that was used, the others fail: in the server's log each would look like trouble. Slow statements, waits for locks, and what
/// ends a session or the server are still there.
async fn quiet(client: &Client, postgres: &PostgresConfig) -> Result<()> {
    let (role, database) = (quote_name(postgres.url.user()), quote_name(postgres.url.database()));
    let set = format!("ALTER ROLE {role} IN DATABASE {database} SET log_min_messages = 'log'");
    match client.batch_execute(&set).await {
        // Where the server is somebody else's, this is for its owner to decide.
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(()),
        other => other.during("choosing what a role's sessions log"),
    }
}

/// A service's role has business in its own database alone.
async fn close_others(client: &Client) -> Result<()> {
    let open = "SELECT datname::text FROM pg_database WHERE datname IN ('postgres', 'template1') \
        AND (has_database_privilege('public', oid, 'CONNECT') OR has_database_privilege('public', oid, 'TEMPORARY'))";
    for row in client.query(open, &[]).await.during("looking at the other databases")? {
        let revoke = format!("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC", quote_name(row.get(0)));
        client.batch_execute(&revoke).await.during("closing the other databases")?;
    }
    Ok(())
}

fn distinct(admin: &PostgresUrl, postgres: &PostgresConfig) -> Result<()> {
    let (app, relay) = (&postgres.url, &postgres.relay_url);
    if app.database() != relay.database() {
        return Err(ErrorKind::Configuration(format!("url and relay_url name two databases: {app} and {relay}")));
    }
    for (one, first, other, second) in
        [("url", app, "relay_url", relay), ("url", app, "admin_url", admin), ("relay_url", relay, "admin_url", admin)]
    {
        if first.user() == second.user() {
            let user = first.user();
            return Err(ErrorKind::Configuration(format!(
                "{one} and {other} name one role, {user}; give each its own"
            )));
        }
    }
    Ok(())
}

async fn maintenance(admin: &PostgresUrl) -> Result<Client> {
    match connect(admin, admin.config().clone().dbname(MAINTENANCE)).await {
        Err(ErrorKind::Connect(_, error)) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
            connect(admin, admin.config()).await
        }
        other => other,
    }
}

/// Creates a role that may log in and nothing else, or makes sure that an existing one is such a role.
async fn role(client: &Client, url: &PostgresUrl) -> Result<()> {
    let found = client
        .query_opt(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolcanlogin, \
             ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid)::text[] \
             FROM pg_roles r WHERE rolname = $1",
            &[&url.user()],
        )
        .await
        .during("looking for a role")?;
    let name = quote_name(url.user());
    let Some(row) = found else {
        let create = format!("CREATE ROLE {name} LOGIN NOINHERIT {}", password(url));
        return client.batch_execute(&create).await.during("creating a role");
    };
    let groups: Vec<String> = row.get(2);
    if row.get(0) || !groups.is_empty() {
        return Err(ErrorKind::Role(format!(
            "the role {} may do more than read and write its tables (it is a superuser, may create roles or databases, \
             replicate, bypass row security, or is a member of another role); take that away or name another role",
            url.user()
        )));
    }
    if !row.get::<_, bool>(1) {
        client.batch_execute(&format!("ALTER ROLE {name} LOGIN")).await.during("letting a role log in")?;
    }
    Ok(())
}

/// The password as the server keeps it, so that it doesn't pass through the server's log.
fn password(url: &PostgresUrl) -> String {
    url.config().get_password().map_or_else(String::new, |password| {
        format!("PASSWORD {}", quote_text(&postgres_protocol::password::scram_sha_256(password)))
    })
}

async fn database(client: &Client, postgres: &PostgresConfig) -> Result<()> {
    let name = postgres.url.database();
    let encoding = client
        .query_opt("SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = $1", &[&name])
        .await
        .during("looking for the database")?;
    match encoding.map(|row| row.get::<_, String>(0)) {
        Some(encoding) if encoding != "UTF8" => {
            Err(ErrorKind::Configuration(format!("the database {name} is encoded as {encoding}; it must be UTF8")))
        }
        Some(_) => Ok(()),
        None => {
            let create = format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", quote_name(name));
            match client.batch_execute(&create).await {
                // Another run was faster.
                Err(error) if is_there(&error) => Ok(()),
                other => other.during("creating the database"),
            }
        }
    }
}

fn is_there(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::DUPLICATE_DATABASE | &SqlState::UNIQUE_VIOLATION))
}

/// Logs in as both roles, and gives a role the password of its URL where the server has another.
pub(super) async fn logins(client: &Client, postgres: &PostgresConfig) -> Result<()> {
    for url in [&postgres.url, &postgres.relay_url] {
        match connect(url, url.config()).await {
            Err(ErrorKind::Connect(_, error)) if is_wrong_password(&error) => {
                let alter = format!("ALTER ROLE {} {}", quote_name(url.user()), password(url));
                client.batch_execute(&alter).await.during("setting a role's password")?;
                connect(url, url.config()).await?;
            }
            other => {
                other?;
            }
        }
    }
    Ok(())
}

fn is_wrong_password(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION))
}
